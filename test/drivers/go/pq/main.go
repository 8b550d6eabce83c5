// lib/pq, the older driver, over database/sql.
package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/lib/pq"

	. "tenantry.test/drivers/check"
)

func main() {
	Run("github.com/lib/pq", []Step{
		{Name: "types", Do: types},
		{Name: "prepared statements", Do: prepared},
		{Name: "transactions", Do: transactions},
		{Name: "pool", Do: pool},
		{Name: "cancellation", Do: cancellation},
		{Name: "errors", Do: errorMapping},
		{Name: "LISTEN", Do: listen},
		{Name: "reconnect", Do: afterEnd},
		{Name: "wrong password", Do: wrongPassword},
		{Name: "COPY refused", Do: copyRefused},
	})
}

func open() *sql.DB {
	db := Got(sql.Open("postgres", URL()))
	db.SetMaxOpenConns(1)
	return db
}

func types(ctx context.Context) error {
	db := open()
	defer db.Close()
	moment := time.Date(2026, 2, 28, 23, 59, 59, 123456000, time.UTC)
	var (
		big   int64
		text  string
		bytes []byte
		when  time.Time
		list  []int64
		none  sql.NullString
	)
	Must(db.QueryRowContext(ctx, "SELECT $1::int8, $2::text, $3::bytea, $4::timestamptz, $5::int8[], $6::text",
		int64(1)<<62, "žluťoučký 🐘", []byte{0, 1, 255}, moment, pq.Array([]int64{1, 2, 3}), nil,
	).Scan(&big, &text, &bytes, &when, pq.Array(&list), &none))
	Equal(fmt.Sprintln(big, text, bytes, when.Equal(moment), list, none.Valid), "4611686018427387904 žluťoučký 🐘 [0 1 255] true [1 2 3] false\n")
	return nil
}

func prepared(ctx context.Context) error {
	db := open()
	defer db.Close()
	twice := Got(db.PrepareContext(ctx, "SELECT $1::int * 2"))
	defer twice.Close()
	for i := range 50 {
		var answer int
		Must(twice.QueryRowContext(ctx, i).Scan(&answer))
		Equal(answer, 2*i)
	}
	return nil
}

func transactions(ctx context.Context) error {
	db := open()
	defer db.Close()
	Got(db.ExecContext(ctx, "CREATE TEMP TABLE steps (n int)"))
	tx := Got(db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelSerializable}))
	Got(tx.Exec("INSERT INTO steps VALUES (1)"))
	Got(tx.Exec("SAVEPOINT before"))
	_, err := tx.Exec("INSERT INTO steps VALUES (1/0)")
	Equal(stateOf(err), "22012")
	_, err = tx.Exec("SELECT 1")
	Equal(stateOf(err), "25P02")
	Got(tx.Exec("ROLLBACK TO before"))
	Must(tx.Commit())
	tx = Got(db.Begin())
	Got(tx.Exec("INSERT INTO steps VALUES (2)"))
	Must(tx.Rollback())
	var sum int
	Must(db.QueryRow("SELECT sum(n) FROM steps").Scan(&sum))
	Equal(sum, 1)
	return nil
}

func pool(ctx context.Context) error {
	db := open()
	defer db.Close()
	db.SetMaxOpenConns(4)
	var group sync.WaitGroup
	failures := make([]error, 40)
	for i := range failures {
		group.Go(func() {
			var twice int
			failures[i] = db.QueryRowContext(ctx, "SELECT $1::int * 2", i).Scan(&twice)
			if failures[i] == nil && twice != 2*i {
				failures[i] = fmt.Errorf("%d answered to %d", twice, i)
			}
		})
	}
	group.Wait()
	return errors.Join(failures...)
}

func errorMapping(ctx context.Context) error {
	db := open()
	defer db.Close()
	_, err := db.ExecContext(ctx, "ALTER TABLE accounts ADD COLUMN mine int")
	Equal(stateOf(err), "42501")
	tx := Got(db.Begin())
	defer tx.Rollback()
	Got(tx.Exec("INSERT INTO accounts (name, email) VALUES ('Twice', 'pq-twice@test.com')"))
	_, err = tx.Exec("INSERT INTO accounts (name, email) VALUES ('Twice', 'pq-twice@test.com')")
	var told *pq.Error
	Equal(errors.As(err, &told), true)
	Equal(told.Code.Name()+" "+told.Constraint, "unique_violation accounts_email_key")
	return nil
}

func wrongPassword(ctx context.Context) error {
	wrong := strings.Replace(URL(), Password, "tdb_0000000000000000", 1)
	db := Got(sql.Open("postgres", wrong))
	defer db.Close()
	Equal(stateOf(db.PingContext(ctx)), "28P01")
	return nil
}

func cancellation(ctx context.Context) error {
	db := open()
	defer db.Close()
	Must(db.PingContext(ctx))
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	_, err := db.ExecContext(short, "SELECT pg_sleep(30)")
	Equal(err != nil, true)
	return db.PingContext(ctx)
}

func copyRefused(ctx context.Context) error {
	db := open()
	defer db.Close()
	tx := Got(db.BeginTx(ctx, nil))
	_, err := tx.Prepare(pq.CopyIn("accounts", "name", "email"))
	Equal(stateOf(err), "0A000")
	Must(tx.Rollback())
	return db.PingContext(ctx)
}

func listen(ctx context.Context) error {
	db := open()
	defer db.Close()
	listener := pq.NewListener(URL(), time.Second, time.Second, nil)
	defer listener.Close()
	Must(listener.Listen("news"))
	Got(db.ExecContext(ctx, "SELECT pg_notify('news', 'to pq')"))
	select {
	case said := <-listener.Notify:
		Equal(said.Extra, "to pq")
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

func afterEnd(ctx context.Context) error {
	db := open()
	defer db.Close()
	_, err := db.ExecContext(ctx, "SELECT pg_terminate_backend(pg_backend_pid())")
	Equal(errors.Is(err, driver.ErrBadConn), true) // what lib/pq makes of an ended session
	return db.PingContext(ctx)
}

func stateOf(err error) string {
	var told *pq.Error
	if errors.As(err, &told) {
		return string(told.Code)
	}
	return fmt.Sprint(err)
}
