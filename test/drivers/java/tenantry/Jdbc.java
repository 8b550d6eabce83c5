package tenantry;

import static tenantry.Check.equal;
import static tenantry.Check.stateOf;
import static tenantry.Check.step;
import static tenantry.Check.told;

import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.Savepoint;
import java.sql.Statement;
import java.time.LocalDate;
import java.time.OffsetDateTime;
import java.util.Arrays;
import java.util.Properties;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.PGStatement;

/** pgjdbc on its own. */
public final class Jdbc {
  interface Work {
    void run(Connection connection) throws Exception;
  }

  public static void main(String[] args) {
    Check.version(org.postgresql.util.DriverInfo.DRIVER_VERSION);
    step("types", () -> with(Jdbc::types));
    step("prepared statements", () -> with(Jdbc::prepared));
    step("transactions", () -> with(Jdbc::transactions));
    Check.skip("pool", "HikariCP's row");
    step("cancellation", () -> with(Jdbc::cancel));
    step("errors", () -> with(Jdbc::errors));
    step("LISTEN", () -> with(Jdbc::listen));
    step("reconnect", Jdbc::afterEnd);
    step("every query mode", Jdbc::queryModes);
    step("batches", Jdbc::batches);
    step("cursor", () -> with(Jdbc::cursor));
    step("generated keys", () -> with(Jdbc::generatedKeys));
    step("metadata", () -> with(Jdbc::metadata));
    step("wrong password", Jdbc::wrongPassword);
    step("COPY refused", () -> with(Jdbc::copyRefused));
    Check.end();
  }

  private static Connection open(String... more) throws Exception {
    Properties properties = Check.login();
    for (int i = 0; i < more.length; i += 2) properties.setProperty(more[i], more[i + 1]);
    return DriverManager.getConnection(Check.url(), properties);
  }

  private static void with(Work work) throws Exception {
    try (Connection connection = open()) {
      work.run(connection);
    }
  }

  private static void types(Connection connection) throws Exception {
    String sql = "SELECT ?::int8, ?::float8, ?::text, ?::bytea, ?::timestamptz, ?::int4[], ?::jsonb, ?::numeric, ?::uuid, ?::date, ?::bool, ?::text";
    UUID id = UUID.fromString("00112233-4455-6677-8899-aabbccddeeff");
    OffsetDateTime moment = OffsetDateTime.parse("2026-02-28T23:59:59.123456Z");
    try (PreparedStatement query = connection.prepareStatement(sql)) {
      query.unwrap(PGStatement.class).setPrepareThreshold(2); // text first, binary from then on
      for (int round = 0; round < 5; round++) {
        query.setLong(1, 1L << 62);
        query.setDouble(2, 1.5);
        query.setString(3, "žluťoučký 🐘");
        query.setBytes(4, new byte[] {0, 1, (byte) 255});
        query.setObject(5, moment);
        query.setArray(6, connection.createArrayOf("int4", new Integer[] {1, 2, 3}));
        query.setString(7, "{\"a\": \"b\"}");
        query.setBigDecimal(8, new BigDecimal("12345678901234567890.12"));
        query.setObject(9, id);
        query.setObject(10, LocalDate.of(2026, 2, 28));
        query.setBoolean(11, true);
        query.setString(12, null);
        try (ResultSet row = query.executeQuery()) {
          row.next();
          equal(row.getLong(1), 1L << 62);
          equal(row.getDouble(2), 1.5);
          equal(row.getString(3), "žluťoučký 🐘");
          equal(row.getBytes(4), new byte[] {0, 1, (byte) 255});
          equal(row.getObject(5, OffsetDateTime.class).toInstant(), moment.toInstant());
          equal(Arrays.toString((Integer[]) row.getArray(6).getArray()), "[1, 2, 3]");
          equal(row.getString(7), "{\"a\": \"b\"}");
          equal(row.getBigDecimal(8), new BigDecimal("12345678901234567890.12"));
          equal(row.getObject(9), id);
          equal(row.getObject(10, LocalDate.class), LocalDate.of(2026, 2, 28));
          equal(row.getBoolean(11), true);
          equal(row.getString(12), null);
        }
      }
    }
  }

  private static void prepared(Connection connection) throws Exception {
    try (PreparedStatement query = connection.prepareStatement("SELECT ?::int * 2")) {
      for (int i = 0; i < 50; i++) {
        query.setInt(1, i);
        equal(only(query.executeQuery()), 2 * i);
      }
      equal(query.unwrap(PGStatement.class).isUseServerPrepare(), true);
    }
    try (Statement statement = connection.createStatement()) {
      equal(only(statement.executeQuery("SELECT count(*)::int FROM pg_prepared_statements WHERE statement LIKE '%* 2%'")), 1);
    }
  }

  private static void queryModes() throws Exception {
    for (String mode : new String[] {"simple", "extended", "extendedForPrepared", "extendedCacheEverything"}) {
      try (Connection connection = open("preferQueryMode", mode); PreparedStatement query = connection.prepareStatement("SELECT ?::int + 1")) {
        for (int i = 0; i < 10; i++) {
          query.setInt(1, i);
          equal(only(query.executeQuery()), i + 1);
        }
      }
    }
  }

  private static void batches() throws Exception {
    for (String rewrite : new String[] {"false", "true"}) {
      try (Connection connection = open("reWriteBatchedInserts", rewrite); Statement statement = connection.createStatement()) {
        statement.execute("CREATE TEMP TABLE batched (n int, filler text)");
        try (PreparedStatement insert = connection.prepareStatement("INSERT INTO batched VALUES (?, ?)")) {
          for (int i = 0; i < 5000; i++) {
            insert.setInt(1, i);
            insert.setString(2, "x".repeat(100));
            insert.addBatch();
          }
          equal(insert.executeBatch().length, 5000);
        }
        equal(only(statement.executeQuery("SELECT count(*)::int FROM batched")), 5000);
      }
    }
  }

  private static void transactions(Connection connection) throws Exception {
    connection.setAutoCommit(false);
    connection.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
    try (Statement statement = connection.createStatement()) {
      statement.execute("CREATE TEMP TABLE steps (n int)");
      connection.commit();
      statement.execute("INSERT INTO steps VALUES (1)");
      Savepoint savepoint = connection.setSavepoint();
      equal(stateOf(() -> statement.execute("INSERT INTO steps VALUES (1/0)")), "22012");
      equal(stateOf(() -> statement.execute("SELECT 1")), "25P02");
      connection.rollback(savepoint);
      connection.commit();
      statement.execute("INSERT INTO steps VALUES (2)");
      connection.rollback();
      equal(only(statement.executeQuery("SELECT sum(n)::int FROM steps")), 1);
      connection.commit();
      connection.setReadOnly(true);
      equal(stateOf(() -> statement.execute("DELETE FROM accounts")), "25006");
      connection.rollback();
    }
  }

  private static void cursor(Connection connection) throws Exception {
    connection.setAutoCommit(false);
    try (Statement statement = connection.createStatement()) {
      statement.setFetchSize(1000);
      long sum = 0;
      try (ResultSet rows = statement.executeQuery("SELECT n, repeat('x', 500) FROM generate_series(1, 50000) n")) {
        while (rows.next()) sum += rows.getLong(1);
      }
      equal(sum, 50000L * 50001 / 2);
    }
  }

  private static void generatedKeys(Connection connection) throws Exception {
    connection.setAutoCommit(false);
    String insert = "INSERT INTO accounts (name, email) VALUES ('Jdbc', 'jdbc-keys@test.com')";
    try (PreparedStatement statement = connection.prepareStatement(insert, Statement.RETURN_GENERATED_KEYS)) {
      statement.executeUpdate();
      try (ResultSet keys = statement.getGeneratedKeys()) {
        equal(keys.next() && keys.getInt("id") > 0, true);
      }
    }
    connection.rollback();
  }

  private static void cancel(Connection connection) throws Exception {
    try (Statement statement = connection.createStatement()) {
      statement.setQueryTimeout(1);
      equal(stateOf(() -> statement.execute("SELECT pg_sleep(30)")), "57014");
      statement.setQueryTimeout(0);
      CompletableFuture<String> ended = CompletableFuture.supplyAsync(() -> stateOf(() -> statement.execute("SELECT pg_sleep(30)")));
      while (!ended.isDone()) {
        statement.cancel();
        Thread.sleep(50);
      }
      equal(ended.get(), "57014");
      equal(only(statement.executeQuery("SELECT 1")), 1);
    }
  }

  private static void errors(Connection connection) throws Exception {
    try (Statement statement = connection.createStatement()) {
      var ddl = told(() -> statement.execute("CREATE TABLE mine (i int)"));
      equal(ddl.getSQLState() + " " + ddl.getMessage(), "42501 DDL not allowed on tenant databases, use workspace mode");
      connection.setAutoCommit(false);
      String insert = "INSERT INTO accounts (name, email) VALUES ('Twice', 'jdbc-twice@test.com')";
      statement.execute(insert);
      var twice = told(() -> statement.execute(insert));
      equal(twice.getSQLState() + " " + twice.getTable() + " " + twice.getConstraint(), "23505 accounts accounts_email_key");
      connection.rollback();
    }
  }

  private static void wrongPassword() {
    equal(stateOf(() -> DriverManager.getConnection(Check.url(), Check.USER, "tdb_0000000000000000")), "28P01");
  }

  private static void copyRefused(Connection connection) throws Exception {
    var copy = connection.unwrap(PGConnection.class).getCopyAPI();
    equal(stateOf(() -> copy.copyIn("COPY accounts (name, email) FROM STDIN")), "0A000");
    equal(stateOf(() -> copy.copyOut("COPY accounts TO STDOUT")), "0A000");
    try (Statement statement = connection.createStatement()) {
      equal(only(statement.executeQuery("SELECT 1")), 1);
    }
  }

  private static void listen(Connection connection) throws Exception {
    try (Statement listener = connection.createStatement(); Connection other = open(); Statement sender = other.createStatement()) {
      listener.execute("LISTEN news");
      sender.execute("SELECT pg_notify('news', 'to pgjdbc')");
      PGNotification[] said = connection.unwrap(PGConnection.class).getNotifications(30_000);
      equal(said.length == 1 ? said[0].getParameter() : said.length, "to pgjdbc");
    }
  }

  private static void metadata(Connection connection) throws Exception {
    var about = connection.getMetaData();
    try (ResultSet columns = about.getColumns(null, "public", "accounts", null)) {
      StringBuilder names = new StringBuilder();
      while (columns.next()) names.append(columns.getString("COLUMN_NAME")).append(' ');
      equal(names.toString().startsWith("id name email balance "), true);
    }
    try (ResultSet keys = about.getPrimaryKeys(null, "public", "accounts")) {
      equal(keys.next() ? keys.getString("COLUMN_NAME") : "none", "id");
    }
  }

  private static void afterEnd() throws Exception {
    try (Connection connection = open(); Statement statement = connection.createStatement()) {
      equal(stateOf(() -> statement.execute("SELECT pg_terminate_backend(pg_backend_pid())")), "57P01");
      equal(connection.isValid(5), false);
    }
    with(connection -> equal(connection.isValid(5), true));
  }

  private static int only(ResultSet rows) throws Exception {
    try (rows) {
      rows.next();
      return rows.getInt(1);
    }
  }
}
