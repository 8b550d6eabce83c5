package tenantry;

import static tenantry.Check.equal;
import static tenantry.Check.stateOf;
import static tenantry.Check.step;

import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import com.zaxxer.hikari.HikariPoolMXBean;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.Statement;
import java.util.stream.IntStream;

/** HikariCP over pgjdbc; what a connection does is in Jdbc. */
public final class Pool {
  public static void main(String[] args) {
    Check.begin(HikariDataSource.class);
    if (args.length > 0) adviceChecks();
    else checks();
    Check.end();
  }

  /** Under a gateway that drops idle clients after two seconds. */
  private static void adviceChecks() {
    step("checked before use", () -> onePool(1, pool -> {
      twice(pool, 1);
      Thread.sleep(4000); // longer than the gateway waits
      twice(pool, 2);
    }));
    Check.skip("recycled in time", "HikariCP takes no maxLifetime below 30 s");
    step("long request", () -> onePool(1, pool -> {
      try (Connection connection = pool.getConnection(); Statement statement = connection.createStatement()) {
        statement.execute("SELECT pg_sleep(4)");
      }
    }));
  }

  private static void checks() {
    for (String check : new String[] {"types", "cancellation", "LISTEN"}) Check.skip(check, "pgjdbc's row");
    step("prepared statements", () -> onePool(2, pool -> IntStream.range(0, 50).forEach(n -> twice(pool, n))));
    step("transactions", Pool::cleanBorrow);
    step("pool", Pool::manyThreads);
    step("errors", Pool::wrongPassword);
    step("reconnect", Pool::afterEnd);
  }

  interface Work {
    void run(HikariDataSource pool) throws Exception;
  }

  static HikariConfig config(int size) {
    HikariConfig config = new HikariConfig();
    config.setJdbcUrl(Check.url());
    config.setUsername(Check.USER);
    config.setPassword(Check.PASSWORD);
    config.setMaximumPoolSize(size);
    config.setMaxLifetime(1_500_000); // ahead of the gateway's 1800 s
    return config;
  }

  private static void onePool(int size, Work work) throws Exception {
    try (HikariDataSource pool = new HikariDataSource(config(size))) {
      work.run(pool);
    }
  }

  private static void manyThreads() throws Exception {
    onePool(4, pool -> {
      IntStream.range(0, 200).parallel().forEach(n -> twice(pool, n));
      HikariPoolMXBean now = pool.getHikariPoolMXBean();
      equal(now.getTotalConnections() <= 4, true);
    });
  }

  static void twice(HikariDataSource pool, int n) {
    try (Connection connection = pool.getConnection(); PreparedStatement query = connection.prepareStatement("SELECT ?::int * 2")) {
      query.setInt(1, n);
      try (ResultSet row = query.executeQuery()) {
        row.next();
        equal(row.getInt(1), 2 * n);
      }
    } catch (java.sql.SQLException error) {
      throw new IllegalStateException(error);
    }
  }

  /** What a borrower sets does not reach the next one. */
  private static void cleanBorrow() throws Exception {
    onePool(1, pool -> {
      try (Connection connection = pool.getConnection(); Statement statement = connection.createStatement()) {
        connection.setAutoCommit(false);
        connection.setReadOnly(true);
        connection.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
        statement.execute("SELECT 1");
      }
      try (Connection connection = pool.getConnection()) {
        equal(connection.getAutoCommit() + " " + connection.isReadOnly() + " " + connection.getTransactionIsolation(), "true false 2");
      }
    });
  }

  private static void afterEnd() throws Exception {
    onePool(1, pool -> {
      try (Connection connection = pool.getConnection(); Statement statement = connection.createStatement()) {
        equal(stateOf(() -> statement.execute("SELECT pg_terminate_backend(pg_backend_pid())")), "57P01");
      }
      twice(pool, 21);
    });
  }

  private static void wrongPassword() {
    HikariConfig config = config(1);
    config.setPassword("tdb_0000000000000000");
    equal(stateOf(() -> new HikariDataSource(config).close()), "28P01");
  }
}
