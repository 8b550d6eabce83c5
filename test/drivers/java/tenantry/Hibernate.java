package tenantry;

import static tenantry.Check.equal;
import static tenantry.Check.failure;
import static tenantry.Check.stateOf;
import static tenantry.Check.step;

import jakarta.persistence.LockModeType;
import java.math.BigDecimal;
import java.time.OffsetDateTime;
import java.util.UUID;
import java.util.stream.IntStream;
import org.hibernate.SessionFactory;
import org.hibernate.cfg.Configuration;

/** Hibernate over HikariCP. With an argument it makes its schema in the workspace instead. */
public final class Hibernate {
  public static void main(String[] args) {
    Check.begin(SessionFactory.class);
    if (args.length > 0) Migrations.update(args[0]);
    else checks();
    Check.end();
  }

  private static void checks() {
    try (SessionFactory sessions = open(2)) {
      step("types", () -> types(sessions));
      step("prepared statements", () -> prepared(sessions));
      step("transactions", () -> transactions(sessions));
      step("pool", () -> pool(sessions));
      step("cancellation", () -> cancellation(sessions));
      step("errors", () -> errors(sessions));
      Check.skip("LISTEN", "Hibernate has no interface for it");
      step("CRUD", () -> crud(sessions));
      step("row locks", () -> locks(sessions));
      step("scroll", () -> scroll(sessions));
    }
    step("reconnect", Hibernate::reconnect);
  }

  static Configuration configure(String database, String password) {
    return new Configuration()
        .setProperty("hibernate.connection.url", Check.urlOf(database))
        .setProperty("hibernate.connection.username", Check.USER)
        .setProperty("hibernate.connection.password", password)
        .setProperty("hibernate.connection.provider_class", "hikari");
  }

  private static SessionFactory open(int poolSize) {
    return configure(Check.DATABASE, Check.PASSWORD)
        .setProperty("hibernate.hikari.maximumPoolSize", String.valueOf(poolSize))
        .setProperty("hibernate.jdbc.batch_size", "50")
        .addAnnotatedClass(Account.class)
        .buildSessionFactory();
  }

  private static void types(SessionFactory sessions) {
    sessions.inSession(session -> {
      UUID id = UUID.fromString("00112233-4455-6677-8899-aabbccddeeff");
      OffsetDateTime moment = OffsetDateTime.parse("2026-02-28T23:59:59.123456Z");
      Object[] row = session
          .createNativeQuery("SELECT cast(:a AS int8), cast(:b AS text), cast(:c AS numeric), cast(:d AS uuid), cast(:e AS bytea), cast(:f AS timestamptz), :g IS NULL", Object[].class)
          .setParameter("a", 1L << 62).setParameter("b", "žluťoučký 🐘").setParameter("c", new BigDecimal("12345678901234567890.12"))
          .setParameter("d", id).setParameter("e", new byte[] {0, 1, (byte) 255}).setParameter("f", moment)
          .setParameter("g", null, String.class)
          .getSingleResult();
      equal(row[0], 1L << 62);
      equal(row[1], "žluťoučký 🐘");
      equal(row[2], new BigDecimal("12345678901234567890.12"));
      equal(row[3], id);
      equal(row[4], new byte[] {0, 1, (byte) 255});
      equal(row[5], moment.toInstant());
      equal(row[6], true);
    });
  }

  private static void prepared(SessionFactory sessions) {
    sessions.inSession(session -> {
      for (int i = 0; i < 50; i++) {
        equal(session.createNativeQuery("SELECT cast(:n AS int) * 2", Integer.class).setParameter("n", i).getSingleResult(), 2 * i);
      }
    });
  }

  private static void transactions(SessionFactory sessions) {
    sessions.inSession(session -> {
      session.beginTransaction();
      session.persist(new Account("Steps", "hibernate-steps@test.com", "1"));
      session.flush();
      session.getTransaction().rollback();
      session.clear();
      equal(count(sessions, "Steps"), 0L);
    });
  }

  private static void pool(SessionFactory sessions) {
    IntStream.range(0, 50).parallel().forEach(n ->
        sessions.inSession(session ->
            equal(session.createNativeQuery("SELECT cast(:n AS int) * 2", Integer.class).setParameter("n", n).getSingleResult(), 2 * n)));
  }

  private static void cancellation(SessionFactory sessions) {
    sessions.inSession(session -> {
      equal(stateOf(() -> session.createNativeQuery("SELECT cast(pg_sleep(30) AS text)", String.class).setTimeout(1).getSingleResult()), "57014");
      equal(session.createNativeQuery("SELECT 1", Integer.class).getSingleResult(), 1);
    });
  }

  private static void errors(SessionFactory sessions) {
    sessions.inSession(session -> {
      session.beginTransaction();
      session.persist(new Account("Twice", "hibernate-twice@test.com", "1"));
      session.persist(new Account("Twice", "hibernate-other@test.com", "1"));
      session.flush();
      var twice = failure(() -> session.createNativeMutationQuery("UPDATE accounts SET email = 'hibernate-twice@test.com' WHERE name = 'Twice'").executeUpdate());
      equal(twice.getSQLState() + " " + twice.getServerErrorMessage().getConstraint(), "23505 accounts_email_key");
      session.getTransaction().rollback();
    });
  }

  private static void crud(SessionFactory sessions) {
    Account account = new Account("Hibernate", "hibernate@test.com", "12.50");
    sessions.inTransaction(session -> session.persist(account));
    sessions.inTransaction(session -> session.find(Account.class, account.getId()).setBalance(new BigDecimal("13.00")));
    sessions.inTransaction(session -> {
      Account found = session.createQuery("from Account where email = :email", Account.class).setParameter("email", account.getEmail()).getSingleResult();
      equal(found.getBalance(), new BigDecimal("13.00"));
      session.remove(found);
    });
    equal(count(sessions, "Hibernate"), 0L);
  }

  private static void locks(SessionFactory sessions) {
    sessions.inTransaction(session -> session.createQuery("from Account", Account.class).setLockMode(LockModeType.PESSIMISTIC_WRITE).getResultList());
  }

  private static void scroll(SessionFactory sessions) {
    sessions.inTransaction(session -> {
      try (var rows = session.createNativeQuery("SELECT n FROM generate_series(1, 20000) n", Integer.class).setFetchSize(500).getResultStream()) {
        equal(rows.mapToLong(Integer::longValue).sum(), 20000L * 20001 / 2);
      }
    });
  }

  private static void reconnect() {
    try (SessionFactory sessions = open(1)) {
      sessions.inSession(session ->
          equal(stateOf(() -> session.createNativeQuery("SELECT pg_terminate_backend(pg_backend_pid())", Boolean.class).getSingleResult()), "57P01"));
      sessions.inSession(session -> equal(session.createNativeQuery("SELECT 1", Integer.class).getSingleResult(), 1));
    }
  }

  private static long count(SessionFactory sessions, String name) {
    return sessions.fromSession(session ->
        session.createQuery("select count(*) from Account where name = :name", Long.class).setParameter("name", name).getSingleResult());
  }
}
