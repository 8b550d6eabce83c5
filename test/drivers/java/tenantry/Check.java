package tenantry;

import ch.qos.logback.classic.Level;
import ch.qos.logback.classic.Logger;
import java.util.Arrays;
import java.util.Objects;
import java.util.Properties;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.postgresql.util.PSQLException;
import org.postgresql.util.ServerErrorMessage;
import org.slf4j.LoggerFactory;

/** Prints one line for each thing a driver was seen to do, and ends the program with 1 when one of them went wrong. */
final class Check {
  static final String HOST = need("TDB_HOST");
  static final String PORT = need("TDB_PORT");
  static final String USER = need("TDB_USER");
  static final String PASSWORD = need("TDB_PASSWORD");
  static final String DATABASE = need("TDB_DATABASE");
  private static final Pattern JAR = Pattern.compile("-(\\d[^/]*)\\.jar$");
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

  /** Says which version is tested, as its file is named. */
  static void begin(Class<?> library) {
    Matcher jar = JAR.matcher(library.getProtectionDomain().getCodeSource().getLocation().getPath());
    version(jar.find() ? jar.group(1) : "unknown");
  }

  static void version(String version) {
    quiet();
    System.out.println("version " + version);
  }

  /** Keeps the libraries' own logs out of the report. */
  static void quiet() {
    ((Logger) LoggerFactory.getLogger("ROOT")).setLevel(Level.OFF);
  }

  static void step(String name, Step step) {
    try {
      step.run();
      System.out.println("ok " + name);
    } catch (Exception | AssertionError error) {
      failed = true;
      System.out.println("fail " + name + ": " + error.toString().replace('\n', ' '));
    }
  }

  /** A check that the library has no way to do. */
  static void skip(String name, String why) {
    System.out.println("skip " + name + ": " + why);
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
