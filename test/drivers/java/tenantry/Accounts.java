package tenantry;

import jakarta.persistence.LockModeType;
import java.util.List;
import java.util.Optional;
import org.springframework.data.domain.Pageable;
import org.springframework.data.jpa.repository.JpaRepository;
import org.springframework.data.jpa.repository.Lock;
import org.springframework.data.jpa.repository.Query;

/** What Spring Data makes queries of. */
interface Accounts extends JpaRepository<Account, Integer> {
  Optional<Account> findByEmail(String email);

  List<Account> findByNameOrderByEmail(String name, Pageable page);

  @Lock(LockModeType.PESSIMISTIC_WRITE)
  @Query("select a from Account a where a.name = ?1")
  List<Account> lockByName(String name);
}
