package tenantry;

import java.util.Arrays;
import java.util.Objects;
import java.util.Properties;
import org.postgresql.util.PSQLException;
import org.postgresql.util.ServerErrorMessage;

/** Prints one line for each thing a driver was seen to do, and ends the program with 1 when one of them went wrong. */
final class Check {
  static final String HOST = need("TDB_HOST");
  static final String PORT = need("TDB_PORT");
  static final String USER = need("TDB_USER");
  static final String PASSWORD = need("TDB_PASSWORD");
  static final String DATABASE = need("TDB_DATABASE");
  private static boolean failed;

  interface Step {
    void run() throws Exception;
  }

  static String need(String name) {
    String value = System.getenv(name);
    if (value == null || value.isEmpty()) throw new IllegalStateException(name + " is not set");
    return value;
  }

  /** The JDBC URL of a database, the server's certificate verified. */
  static String urlOf(String database) {
    return "jdbc:postgresql://" + HOST + ":" + PORT + "/" + database + "?sslmode=verify-full&sslrootcert=" + need("TDB_CA_FILE");
  }

  static String url() {
    return urlOf(DATABASE);
  }

  /** What pgjdbc is given to log in. */
  static Properties login() {
    Properties properties = new Properties();
    properties.setProperty("user", USER);
    properties.setProperty("password", PASSWORD);
    return properties;
  }

  static void step(String name, Step step) {
    try {
      step.run();
      System.out.println("ok - " + name);
    } catch (Exception | AssertionError error) {
      failed = true;
      System.out.println("not ok - " + name + ": " + error.toString().replace('\n', ' '));
    }
  }

  /** Ends the program. */
  static void end() {
    System.exit(failed ? 1 : 0);
  }

  static void equal(Object got, Object wanted) {
    boolean same = got instanceof byte[] left && wanted instanceof byte[] right ? Arrays.equals(left, right) : Objects.equals(got, wanted);
    if (!same) throw new AssertionError("got " + got + ", expected " + wanted);
  }

  /** The server's error that a call fails with, wherever a framework put it. */
  static PSQLException failure(Step step) {
    try {
      step.run();
    } catch (Exception error) {
      for (Throwable cause = error; cause != null; cause = cause.getCause()) {
        if (cause instanceof PSQLException told) return told;
      }
      throw new AssertionError("no error of the server: " + error, error);
    }
    throw new AssertionError("it was expected to fail");
  }

  static String stateOf(Step step) {
    return failure(step).getSQLState();
  }

  static ServerErrorMessage told(Step step) {
    return failure(step).getServerErrorMessage();
  }

  private Check() {}
}
