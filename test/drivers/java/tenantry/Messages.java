package tenantry;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Properties;

/** Connects as each line of standard input says and prints what the JDBC driver shows its user. */
final class Messages {
  public static void main(String[] args) throws Exception {
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      System.out.println(attempt(line.split("\t")).replaceAll("\\s+", " "));
    }
  }

  private static String attempt(String[] given) {
    Properties properties = new Properties();
    properties.setProperty("user", given[2]);
    properties.setProperty("password", given[3]);
    properties.setProperty("sslmode", given[5]);
    String url = "jdbc:postgresql://" + given[0] + ":" + given[1] + "/" + given[4];
    try (Connection connection = DriverManager.getConnection(url, properties);
        Statement statement = connection.createStatement()) {
      statement.execute(given[6]);
      return "no error";
    } catch (SQLException error) {
      return error.getMessage();
    }
  }
}
