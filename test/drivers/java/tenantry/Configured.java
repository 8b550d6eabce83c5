package tenantry;

import java.util.List;
import org.hibernate.SessionFactory;
import org.hibernate.cfg.Configuration;
import org.springframework.boot.SpringApplication;
import org.springframework.context.ConfigurableApplicationContext;

/** An application that knows its database from its properties file alone, and prints the accounts. */
public final class Configured {
  public static void main(String[] args) {
    List<Account> accounts = args[0].equals("spring") ? spring() : hibernate();
    for (Account account : accounts) System.out.println(account.getName() + " " + account.getBalance());
  }

  private static List<Account> hibernate() {
    try (SessionFactory sessions = new Configuration().addAnnotatedClass(Account.class).buildSessionFactory()) {
      return sessions.fromSession(session -> session.createQuery("from Account", Account.class).getResultList());
    }
  }

  private static List<Account> spring() {
    try (ConfigurableApplicationContext context = SpringApplication.run(SpringData.class)) {
      return context.getBean(Accounts.class).findAll();
    }
  }

  private Configured() {}
}
