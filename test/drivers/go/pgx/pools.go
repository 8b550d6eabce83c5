// What shares connections: pgxpool, and database/sql over pgx.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib"

	. "tenantry.test/drivers/check"
)

func pool(ctx context.Context) error {
	pool := Got(pgxpool.New(ctx, URL("pool_max_conns", "5")))
	defer pool.Close()
	Equal(inParallel(40, func(i int) error {
		var twice int
		if err := pool.QueryRow(ctx, "SELECT $1::int * 2", i).Scan(&twice); err != nil {
			return err
		}
		if twice != 2*i {
			return fmt.Errorf("%d answered to %d", twice, i)
		}
		return nil
	}), nil)
	Equal(pool.Stat().TotalConns() <= 5, true)
	return nil
}

func poolAfterEnd(ctx context.Context) error {
	pool := Got(pgxpool.New(ctx, URL("pool_max_conns", "1")))
	defer pool.Close()
	_, err := pool.Exec(ctx, "SELECT pg_terminate_backend(pg_backend_pid())")
	Equal(stateOf(err), "57P01")
	Equal(Got(pool.Exec(ctx, "SELECT 1")).RowsAffected(), 1)
	return nil
}

func databaseSQL(ctx context.Context) error {
	db := Got(sql.Open("pgx", URL()))
	defer db.Close()
	db.SetMaxOpenConns(4)
	statement := Got(db.PrepareContext(ctx, "SELECT $1::text || '!'"))
	defer statement.Close()
	Equal(inParallel(20, func(i int) error {
		var answer string
		if err := statement.QueryRowContext(ctx, fmt.Sprint(i)).Scan(&answer); err != nil {
			return err
		}
		if answer != fmt.Sprintf("%d!", i) {
			return errors.New(answer)
		}
		return nil
	}), nil)
	tx := Got(db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}))
	_, err := tx.ExecContext(ctx, "DELETE FROM accounts")
	Equal(stateOf(err), "25006")
	Must(tx.Rollback())
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	_, err = db.ExecContext(short, "SELECT pg_sleep(30)")
	Equal(err != nil, true)
	return db.PingContext(ctx)
}

func databaseSQLAfterEnd(ctx context.Context) error {
	db := Got(sql.Open("pgx", URL()))
	defer db.Close()
	db.SetMaxOpenConns(1)
	_, err := db.ExecContext(ctx, "SELECT pg_terminate_backend(pg_backend_pid())")
	Equal(stateOf(err), "57P01")
	var one int
	Must(db.QueryRowContext(ctx, "SELECT 1").Scan(&one))
	Equal(one, 1)
	return nil
}

func inParallel(calls int, do func(i int) error) error {
	var group sync.WaitGroup
	failures := make([]error, calls)
	for i := range calls {
		group.Go(func() { failures[i] = do(i) })
	}
	group.Wait()
	return errors.Join(failures...)
}
