package tenantry;

import jakarta.persistence.Column;
import jakarta.persistence.Entity;
import jakarta.persistence.GeneratedValue;
import jakarta.persistence.GenerationType;
import jakarta.persistence.Id;
import jakarta.persistence.ManyToOne;
import jakarta.persistence.Table;
import java.math.BigDecimal;
import org.flywaydb.core.Flyway;
import org.flywaydb.core.api.MigrationVersion;

/** Schema tools against the workspace, for the application's first release and its second: hbm2ddl and Flyway. */
public final class Migrations {
  /** Flyway with the migrations in the working directory. */
  public static void main(String[] args) {
    Check.begin(Flyway.class);
    Flyway.configure()
        .dataSource(Check.urlOf(Check.need("TDB_WORKSPACE_DATABASE")), Check.USER, Check.need("TDB_WORKSPACE_PASSWORD"))
        .locations("filesystem:.")
        .target(MigrationVersion.fromVersion(args[0]))
        .load()
        .migrate();
    Check.end();
  }

  /** hibernate.hbm2ddl.auto=update */
  static void update(String step) {
    Hibernate.configure(Check.need("TDB_WORKSPACE_DATABASE"), Check.need("TDB_WORKSPACE_PASSWORD"))
        .setProperty("hibernate.hbm2ddl.auto", "update")
        .setProperty("hibernate.hbm2ddl.halt_on_error", "true")
        .addAnnotatedClass(step.equals("1") ? Account.class : AccountWithPlan.class)
        .addAnnotatedClass(step.equals("1") ? Transaction.class : TransactionOfPlan.class)
        .buildSessionFactory()
        .close();
  }

  @Entity
  @Table(name = "transactions")
  static class Transaction {
    @Id
    @GeneratedValue(strategy = GenerationType.IDENTITY)
    Integer id;

    @ManyToOne(optional = false)
    Account account;

    @Column(nullable = false, precision = 15, scale = 2)
    BigDecimal amount;
  }

  @Entity
  @Table(name = "accounts")
  static class AccountWithPlan {
    @Id
    @GeneratedValue(strategy = GenerationType.IDENTITY)
    Integer id;

    @Column(nullable = false)
    String name;

    @Column(nullable = false, unique = true)
    String email;

    @Column(precision = 15, scale = 2)
    BigDecimal balance;

    @Column(length = 20)
    String plan;
  }

  @Entity
  @Table(name = "transactions")
  static class TransactionOfPlan {
    @Id
    @GeneratedValue(strategy = GenerationType.IDENTITY)
    Integer id;

    @ManyToOne(optional = false)
    AccountWithPlan account;

    @Column(nullable = false, precision = 15, scale = 2)
    BigDecimal amount;
  }

  private Migrations() {}
}
