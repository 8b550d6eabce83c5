package tenantry;

import static org.jooq.impl.DSL.field;
import static org.jooq.impl.DSL.inline;
import static org.jooq.impl.DSL.table;
import static org.jooq.impl.DSL.val;
import static tenantry.Check.equal;
import static tenantry.Check.failure;
import static tenantry.Check.stateOf;
import static tenantry.Check.step;

import com.zaxxer.hikari.HikariDataSource;
import java.math.BigDecimal;
import java.time.OffsetDateTime;
import java.util.UUID;
import java.util.stream.IntStream;
import org.jooq.DSLContext;
import org.jooq.Field;
import org.jooq.JSONB;
import org.jooq.SQLDialect;
import org.jooq.Table;
import org.jooq.impl.DSL;
import org.jooq.impl.SQLDataType;

/** jOOQ over HikariCP. */
public final class Jooq {
  private static final Table<?> ACCOUNTS = table("accounts");
  private static final Field<Integer> ID = field("id", Integer.class);
  private static final Field<String> NAME = field("name", String.class);
  private static final Field<String> EMAIL = field("email", String.class);

  public static void main(String[] args) {
    System.setProperty("org.jooq.no-logo", "true");
    System.setProperty("org.jooq.no-tips", "true");
    Check.version(org.jooq.Constants.FULL_VERSION);
    try (HikariDataSource pool = new HikariDataSource(Pool.config(2))) {
      DSLContext create = DSL.using(pool, SQLDialect.POSTGRES);
      step("types", () -> types(create));
      step("prepared statements", () -> IntStream.range(0, 50).forEach(n -> twice(create, n)));
      step("transactions", () -> transactions(create));
      step("pool", () -> IntStream.range(0, 50).parallel().forEach(n -> twice(create, n)));
      step("cancellation", () -> cancellation(create));
      step("errors", () -> errors(create));
      Check.skip("LISTEN", "jOOQ has no interface for it");
      step("batches", () -> batches(create));
      step("lazy reading", () -> lazy(create));
      step("schema read", () -> schema(create));
    }
    step("reconnect", Jooq::reconnect);
    Check.end();
  }

  private static void twice(DSLContext create, int n) {
    equal(create.select(val(n).mul(2)).fetchOne().value1(), 2 * n);
  }

  private static void types(DSLContext create) {
    UUID id = UUID.fromString("00112233-4455-6677-8899-aabbccddeeff");
    OffsetDateTime moment = OffsetDateTime.parse("2026-02-28T23:59:59.123456Z");
    var row = create
        .select(val(1L << 62), val("žluťoučký 🐘"), val(new BigDecimal("12345678901234567890.12")), val(id), val(new byte[] {0, 1, (byte) 255}),
            val(moment), val(new Integer[] {1, 2, 3}), val(JSONB.valueOf("{\"a\": \"b\"}")), val((String) null))
        .fetchOne();
    equal(row.value1(), 1L << 62);
    equal(row.value2(), "žluťoučký 🐘");
    equal(row.value3(), new BigDecimal("12345678901234567890.12"));
    equal(row.value4(), id);
    equal(row.value5(), new byte[] {0, 1, (byte) 255});
    equal(row.value6().toInstant(), moment.toInstant());
    equal(row.value7()[2], 3);
    equal(row.value8().data(), "{\"a\": \"b\"}");
    equal(row.value9(), null);
  }

  private static void transactions(DSLContext create) {
    IllegalStateException stop = new IllegalStateException("stop");
    try {
      create.transaction(outer -> {
        outer.dsl().insertInto(ACCOUNTS, NAME, EMAIL).values("jOOQ", "jooq-outer@test.com").execute();
        // Nested transactions are savepoints.
        equal(stateOf(() -> outer.dsl().transaction(inner -> inner.dsl().execute("SELECT 1/0"))), "22012");
        equal(outer.dsl().fetchCount(ACCOUNTS, EMAIL.eq("jooq-outer@test.com")), 1);
        throw stop;
      });
      throw new AssertionError("it was expected to fail");
    } catch (IllegalStateException caught) {
      equal(caught, stop);
    }
    equal(create.fetchCount(ACCOUNTS, NAME.eq("jOOQ")), 0);
  }

  private static void cancellation(DSLContext create) {
    equal(stateOf(() -> create.resultQuery("SELECT pg_sleep(30)").queryTimeout(1).fetch()), "57014");
    twice(create, 21);
  }

  private static void errors(DSLContext create) {
    equal(stateOf(() -> create.createTable("mine").column("i", SQLDataType.INTEGER).execute()), "42501");
    create.transaction(configuration -> {
      DSLContext in = configuration.dsl();
      Integer id = in.insertInto(ACCOUNTS, NAME, EMAIL).values("Twice", "jooq-twice@test.com").returningResult(ID).fetchOne().value1();
      var twice = failure(() -> in.transaction(inner -> inner.dsl().insertInto(ACCOUNTS, NAME, EMAIL).values("Twice", "jooq-twice@test.com").execute()));
      equal(twice.getSQLState() + " " + twice.getServerErrorMessage().getConstraint(), "23505 accounts_email_key");
      in.deleteFrom(ACCOUNTS).where(ID.eq(id)).execute();
    });
  }

  private static void batches(DSLContext create) {
    create.transaction(configuration -> {
      DSLContext in = configuration.dsl();
      in.execute("CREATE TEMP TABLE batched (n int) ON COMMIT DROP");
      var batch = in.batch(in.insertInto(table("batched")).columns(field("n", Integer.class)).values((Integer) null));
      for (int n = 0; n < 1000; n++) batch.bind(n);
      equal(batch.execute().length, 1000);
      equal(in.fetchCount(table("batched")), 1000);
    });
  }

  private static void lazy(DSLContext create) {
    create.transaction(configuration -> {
      long sum = 0;
      try (var rows = configuration.dsl().select(field("n", Integer.class)).from("generate_series(1, {0}) n", inline(20000)).fetchSize(500).fetchLazy()) {
        for (var row : rows) sum += row.value1();
      }
      equal(sum, 20000L * 20001 / 2);
    });
  }

  private static void schema(DSLContext create) {
    var accounts = create.meta().getSchemas("public").get(0).getTable("accounts");
    equal(accounts.field("email").getDataType().length(), 255);
    equal(accounts.getPrimaryKey().getFields().get(0).getName(), "id");
  }

  private static void reconnect() {
    try (HikariDataSource pool = new HikariDataSource(Pool.config(1))) {
      DSLContext create = DSL.using(pool, SQLDialect.POSTGRES);
      equal(stateOf(() -> create.fetch("SELECT pg_terminate_backend(pg_backend_pid())")), "57P01");
      twice(create, 21);
    }
  }
}
