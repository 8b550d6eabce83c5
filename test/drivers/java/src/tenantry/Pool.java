package tenantry;

import static tenantry.Check.equal;
import static tenantry.Check.stateOf;
import static tenantry.Check.step;

import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/** HikariCP over pgjdbc. */
public final class Pool {
  public static void main(String[] args) {
    step("four connections serve many threads", Pool::manyThreads);
    step("what a session sets does not reach the next borrower", Pool::cleanBorrow);
    step("a new connection after 57P01", Pool::afterEnd);
    step("wrong password told at the start", Pool::wrongPassword);
    Check.end();
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

  private static void manyThreads() throws Exception {
    ExecutorService threads = Executors.newFixedThreadPool(16);
    try (HikariDataSource pool = new HikariDataSource(config(4))) {
      List<Callable<Integer>> calls = new ArrayList<>();
      for (int i = 0; i < 200; i++) {
        int n = i;
        calls.add(() -> twice(pool, n));
      }
      int n = 0;
      for (Future<Integer> answer : threads.invokeAll(calls)) equal(answer.get(), 2 * n++);
      equal(pool.getHikariPoolMXBean().getTotalConnections() <= 4, true);
    } finally {
      threads.shutdown();
    }
  }

  private static int twice(HikariDataSource pool, int n) throws Exception {
    try (Connection connection = pool.getConnection(); PreparedStatement query = connection.prepareStatement("SELECT ?::int * 2")) {
      query.setInt(1, n);
      try (ResultSet row = query.executeQuery()) {
        row.next();
        return row.getInt(1);
      }
    }
  }

  private static void cleanBorrow() throws Exception {
    try (HikariDataSource pool = new HikariDataSource(config(1))) {
      try (Connection connection = pool.getConnection()) {
        connection.setAutoCommit(false);
        connection.setReadOnly(true);
        connection.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
      }
      try (Connection connection = pool.getConnection()) {
        equal(connection.getAutoCommit() + " " + connection.isReadOnly() + " " + connection.getTransactionIsolation(), "true false 2");
      }
    }
  }

  private static void afterEnd() throws Exception {
    try (HikariDataSource pool = new HikariDataSource(config(1))) {
      try (Connection connection = pool.getConnection(); Statement statement = connection.createStatement()) {
        equal(stateOf(() -> statement.execute("SELECT pg_terminate_backend(pg_backend_pid())")), "57P01");
      }
      equal(twice(pool, 21), 42);
    }
  }

  private static void wrongPassword() {
    HikariConfig config = config(1);
    config.setPassword("tdb_0000000000000000");
    equal(stateOf(() -> new HikariDataSource(config).close()), "28P01");
  }
}
