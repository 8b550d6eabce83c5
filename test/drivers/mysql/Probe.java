// Connector/J as a user's program: connects, runs a statement, prints what came back or the error's own words. Arguments as in clients.ts.
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;

public class Probe {
  public static void main(String[] arguments) {
    String address = "jdbc:mysql://" + arguments[0] + ":" + arguments[1] + "/";
    for (int at = 4; at < arguments.length; at++) {
      String[] parts = arguments[at].split("\t", -1);
      // Its default is TLS where the server has it.
      String url = address + parts[1] + (parts[2].equals("tls") ? "" : "?sslMode=DISABLED");
      System.out.println(attempt(url, arguments[2], parts[0], parts[3]).replace('\n', ' '));
    }
  }

  private static String attempt(String url, String user, String password, String sql) {
    try (Connection connection = DriverManager.getConnection(url, user, password);
        Statement statement = connection.createStatement()) {
      statement.execute(sql);
      ResultSet rows = statement.getResultSet();
      List<String> found = new ArrayList<>();
      while (rows.next()) found.add(rows.getString(1));
      return String.join(",", found);
    } catch (SQLException error) {
      return error.getMessage();
    }
  }
}
