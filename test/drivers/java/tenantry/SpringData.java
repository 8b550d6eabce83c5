package tenantry;

import static tenantry.Check.equal;
import static tenantry.Check.stateOf;
import static tenantry.Check.step;

import jakarta.persistence.EntityManager;
import java.math.BigDecimal;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.boot.SpringBootVersion;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.dao.DataIntegrityViolationException;
import org.springframework.data.domain.PageRequest;
import org.springframework.data.domain.Sort;
import org.springframework.transaction.PlatformTransactionManager;
import org.springframework.transaction.support.TransactionTemplate;

/** Spring Data JPA in a Spring Boot application, as its properties set it up. */
@SpringBootApplication(proxyBeanMethods = false)
public class SpringData {
  public static void main(String[] args) {
    Check.quiet();
    SpringApplication application = new SpringApplication(SpringData.class);
    application.setDefaultProperties(Map.of(
        "spring.datasource.url", Check.url(),
        "spring.datasource.username", Check.USER,
        "spring.datasource.password", Check.PASSWORD,
        "spring.datasource.hikari.maximum-pool-size", "2",
        "spring.main.banner-mode", "off",
        "logging.level.root", "off"));
    try (ConfigurableApplicationContext context = application.run()) {
      Check.version(SpringBootVersion.getVersion());
      Accounts accounts = context.getBean(Accounts.class);
      EntityManager manager = context.getBean(EntityManager.class);
      TransactionTemplate transaction = new TransactionTemplate(context.getBean(PlatformTransactionManager.class));
      step("types", () -> types(accounts));
      step("prepared statements", () -> prepared(manager));
      step("transactions", () -> transactions(accounts, transaction));
      step("pool", () -> IntStream.range(0, 50).parallel().forEach(n -> equal(twice(manager, n), 2 * n)));
      step("cancellation", () -> cancellation(manager));
      step("errors", () -> errors(accounts));
      Check.skip("LISTEN", "Spring Data has no interface for it");
      step("reconnect", () -> reconnect(manager));
      step("paging", () -> paging(accounts, transaction));
      step("row locks", () -> transaction.executeWithoutResult(status -> accounts.lockByName("Zoe")));
    }
    Check.end();
  }

  private static void types(Accounts accounts) {
    Account saved = accounts.save(new Account("Žofie 🐘", "spring-types@test.com", "1234567890123.45"));
    Account found = accounts.findByEmail("spring-types@test.com").orElseThrow();
    equal(found.getId(), saved.getId());
    equal(found.getName(), "Žofie 🐘");
    equal(found.getBalance(), new BigDecimal("1234567890123.45"));
    accounts.delete(found);
    equal(accounts.existsById(saved.getId()), false);
  }

  private static Object twice(EntityManager manager, int n) {
    return manager.createNativeQuery("SELECT cast(?1 AS int) * 2").setParameter(1, n).getSingleResult();
  }

  private static void prepared(EntityManager manager) {
    for (int n = 0; n < 50; n++) equal(twice(manager, n), 2 * n);
  }

  private static void transactions(Accounts accounts, TransactionTemplate transaction) {
    transaction.executeWithoutResult(status -> {
      accounts.saveAndFlush(new Account("Spring steps", "spring-steps@test.com", "1"));
      status.setRollbackOnly();
    });
    equal(accounts.findByEmail("spring-steps@test.com").isPresent(), false);
  }

  private static void cancellation(EntityManager manager) {
    equal(stateOf(() -> manager.createNativeQuery("SELECT cast(pg_sleep(30) AS text)").setHint("jakarta.persistence.query.timeout", 500).getSingleResult()), "57014");
    equal(twice(manager, 21), 42);
  }

  private static void errors(Accounts accounts) {
    Account first = accounts.save(new Account("Twice", "spring-twice@test.com", "1"));
    try {
      accounts.save(new Account("Twice", "spring-twice@test.com", "1"));
      throw new AssertionError("it was expected to fail");
    } catch (DataIntegrityViolationException told) {
      equal(told.getMessage().contains("accounts_email_key"), true);
    } finally {
      accounts.delete(first);
    }
  }

  private static void reconnect(EntityManager manager) {
    // Both connections of the pool.
    for (int i = 0; i < 2; i++) {
      equal(stateOf(() -> manager.createNativeQuery("SELECT pg_terminate_backend(pg_backend_pid())").getSingleResult()), "57P01");
    }
    equal(twice(manager, 21), 42);
  }

  private static void paging(Accounts accounts, TransactionTemplate transaction) {
    transaction.executeWithoutResult(status -> {
      accounts.saveAll(IntStream.range(0, 100).mapToObj(n -> new Account("Spring page", "spring-%02d@test.com".formatted(n), "1")).toList());
      List<Account> page = accounts.findByNameOrderByEmail("Spring page", PageRequest.of(3, 10, Sort.by("email")));
      equal(page.get(0).getEmail(), "spring-30@test.com");
      status.setRollbackOnly();
    });
  }
}
