// The MongoDB Java driver as a user's program: looks for documents at each URI, prints how many there are or the error's own words. Arguments as in clients.ts.
import com.mongodb.ConnectionString;
import com.mongodb.MongoException;
import com.mongodb.client.MongoClient;
import com.mongodb.client.MongoClients;
import java.util.ArrayList;
import java.util.logging.Level;
import java.util.logging.Logger;

public class Probe {
  private static final Logger log = Logger.getLogger("org.mongodb.driver");

  public static void main(String[] uris) {
    log.setLevel(Level.OFF);
    for (String uri : uris) System.out.println(attempt(uri).replace("\n", " "));
  }

  private static String attempt(String uri) {
    ConnectionString parsed = new ConnectionString(uri);
    try (MongoClient client = MongoClients.create(parsed)) {
      int found = client.getDatabase(parsed.getDatabase()).getCollection("orders").find().into(new ArrayList<>()).size();
      return found + " documents";
    } catch (MongoException error) {
      // Of a failed login the driver tells the server's words as the cause only, last in the stack trace.
      Throwable last = error;
      while (last.getCause() != null) last = last.getCause();
      return last.getMessage();
    }
  }
}
