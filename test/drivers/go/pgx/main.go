// pgx v5 as applications use it: its own interface, pgxpool and database/sql.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	. "tenantry.test/drivers/check"
)

func main() {
	Run("github.com/jackc/pgx/v5", []Step{
		{Name: "types", Do: withConn(types)},
		{Name: "prepared statements", Do: withConn(prepared)},
		{Name: "transactions", Do: withConn(transactions)},
		{Name: "pool", Do: pool},
		{Name: "cancellation", Do: withConn(cancellation)},
		{Name: "errors", Do: withConn(errorMapping)},
		{Name: "LISTEN", Do: listen},
		{Name: "reconnect", Do: poolAfterEnd},
		{Name: "every query mode", Do: queryModes},
		{Name: "batch and pipeline", Do: withConn(batches)},
		{Name: "large result", Do: withConn(largeResult)},
		{Name: "wrong password", Do: wrongPassword},
		{Name: "COPY refused", Do: withConn(copyRefused)},
		{Name: "database/sql", Do: databaseSQL},
		{Name: "database/sql reconnect", Do: databaseSQLAfterEnd},
	})
}

func connect(ctx context.Context, more ...string) *pgx.Conn {
	return Got(pgx.Connect(ctx, URL(more...)))
}

func withConn(do func(ctx context.Context, conn *pgx.Conn)) func(context.Context) error {
	return func(ctx context.Context) error {
		conn := connect(ctx)
		defer conn.Close(ctx)
		do(ctx, conn)
		return nil
	}
}

func types(ctx context.Context, conn *pgx.Conn) {
	moment := time.Date(2026, 2, 28, 23, 59, 59, 123456000, time.UTC)
	var (
		big      int64
		real     float64
		text     string
		bytes    []byte
		when     time.Time
		list     []int32
		document map[string]any
		address  netip.Addr
		amount   pgtype.Numeric
		id       pgtype.UUID
		length   pgtype.Interval
		none     *string
	)
	Must(conn.QueryRow(ctx, `SELECT $1::int8, $2::float8, $3::text, $4::bytea, $5::timestamptz, $6::int4[], $7::jsonb, $8::inet, $9::numeric, $10::uuid, $11::interval, $12::text`,
		int64(1)<<62, 1.5, "žluťoučký 🐘", []byte{0, 1, 255}, moment, []int32{1, 2, 3}, map[string]any{"a": "b"}, netip.MustParseAddr("10.0.0.1"),
		"12345678901234567890.12", "00112233-4455-6677-8899-aabbccddeeff", 90*time.Second, nil,
	).Scan(&big, &real, &text, &bytes, &when, &list, &document, &address, &amount, &id, &length, &none))
	Equal(big, 1<<62)
	Equal(real, 1.5)
	Equal(text, "žluťoučký 🐘")
	Equal(string(bytes), "\x00\x01\xff")
	Equal(when.Equal(moment), true)
	Equal(fmt.Sprint(list, document, address), "[1 2 3] map[a:b] 10.0.0.1")
	Equal(Got(amount.Value()).(string), "12345678901234567890.12")
	Equal(id.String(), "00112233-4455-6677-8899-aabbccddeeff")
	Equal(length.Microseconds, 90_000_000)
	Equal(none, nil)
}

func prepared(ctx context.Context, conn *pgx.Conn) {
	Got(conn.Prepare(ctx, "twice", "SELECT $1::int * 2"))
	for i := range 50 {
		var twice int
		Must(conn.QueryRow(ctx, "twice", i).Scan(&twice))
		Equal(twice, 2*i)
	}
	Must(conn.Deallocate(ctx, "twice"))
	_, err := conn.Exec(ctx, "EXECUTE twice(1)")
	Equal(stateOf(err), "26000")
}

func queryModes(ctx context.Context) error {
	for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"} {
		conn := connect(ctx, "default_query_exec_mode", mode)
		for range 3 {
			var sum int64
			Must(conn.QueryRow(ctx, "SELECT count(*) + $1::int8 FROM accounts", 0).Scan(&sum))
		}
		Must(conn.Close(ctx))
	}
	return nil
}

func transactions(ctx context.Context, conn *pgx.Conn) {
	Got(conn.Exec(ctx, "CREATE TEMP TABLE steps (n int)"))
	tx := Got(conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.Serializable}))
	Got(tx.Exec(ctx, "INSERT INTO steps VALUES (1)"))
	inner := Got(tx.Begin(ctx))
	_, err := inner.Exec(ctx, "INSERT INTO steps VALUES (1/0)")
	Equal(stateOf(err), "22012")
	Must(inner.Rollback(ctx))
	Must(tx.Commit(ctx))
	Equal(count(ctx, conn, "steps"), 1)
	tx = Got(conn.Begin(ctx))
	Got(tx.Exec(ctx, "INSERT INTO steps VALUES (2)"))
	Must(tx.Rollback(ctx))
	Equal(count(ctx, conn, "steps"), 1)
	readOnly := Got(conn.BeginTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadOnly}))
	_, err = readOnly.Exec(ctx, "UPDATE accounts SET balance = 0")
	Equal(stateOf(err), "25006")
	Must(readOnly.Rollback(ctx))
}

func batches(ctx context.Context, conn *pgx.Conn) {
	batch := &pgx.Batch{}
	batch.Queue("CREATE TEMP TABLE queued (n int)")
	Must(conn.SendBatch(ctx, batch).Close())
	batch = &pgx.Batch{}
	for i := range 200 {
		batch.Queue("INSERT INTO queued VALUES ($1)", i)
	}
	batch.Queue("SELECT 1/0")
	batch.Queue("SELECT 1")
	results := conn.SendBatch(ctx, batch)
	for range 200 {
		Got(results.Exec())
	}
	_, err := results.Exec()
	Equal(stateOf(err), "22012")
	results.Close()
	Equal(count(ctx, conn, "queued"), 0) // one implicit transaction

	pipeline := conn.PgConn().StartPipeline(ctx)
	for range 3 {
		pipeline.SendQueryParams("SELECT 1/$1::int", [][]byte{[]byte("0")}, nil, nil, nil)
		Must(pipeline.Sync())
	}
	failed, synced := 0, 0
	for synced < 3 {
		result, err := pipeline.GetResults()
		if stateOf(err) == "22012" {
			failed++
			continue
		}
		Must(err)
		switch reader := result.(type) {
		case *pgconn.PipelineSync:
			synced++
		case *pgconn.ResultReader:
			if _, err := reader.Close(); stateOf(err) == "22012" {
				failed++
			}
		}
	}
	Must(pipeline.Close())
	Equal(failed, 3)
}

func largeResult(ctx context.Context, conn *pgx.Conn) {
	rows := Got(conn.Query(ctx, "SELECT n, repeat('x', 1000) FROM generate_series(1, 50000) n"))
	var n, sum int64
	var filler string
	Got(pgx.ForEachRow(rows, []any{&n, &filler}, func() error {
		sum += n
		return nil
	}))
	Equal(sum, 50000*50001/2)
}

func cancellation(ctx context.Context, conn *pgx.Conn) {
	Got(conn.Exec(ctx, "SET statement_timeout = 50"))
	_, err := conn.Exec(ctx, "SELECT pg_sleep(30)")
	Equal(stateOf(err), "57014")
	Got(conn.Exec(ctx, "RESET statement_timeout"))
	// CancelRequest on a connection of its own, as pgx sends it when it is told to.
	ended := make(chan error, 1)
	go func() {
		_, err := conn.Exec(ctx, "SELECT pg_sleep(30)")
		ended <- err
	}()
	for {
		Must(conn.PgConn().CancelRequest(ctx))
		select {
		case err := <-ended:
			Equal(stateOf(err), "57014")
			Equal(count(ctx, conn, "generate_series(1, 3)"), 3)
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func errorMapping(ctx context.Context, conn *pgx.Conn) {
	_, err := conn.Exec(ctx, "CREATE TABLE mine (i int)")
	Equal(stateOf(err), "42501")
	Equal(pgError(err).Message, "DDL not allowed on tenant databases, use workspace mode")
	tx := Got(conn.Begin(ctx))
	defer tx.Rollback(ctx)
	insert := "INSERT INTO accounts (name, email) VALUES ('Twice', 'pgx-twice@test.com')"
	Got(tx.Exec(ctx, insert))
	_, err = tx.Exec(ctx, insert)
	Equal(stateOf(err), "23505")
	Equal(pgError(err).ConstraintName, "accounts_email_key")
	Equal(pgError(err).TableName, "accounts")
	_, err = conn.Exec(ctx, "SELECT 1")
	Equal(stateOf(err), "25P02")
}

func wrongPassword(ctx context.Context) error {
	config := Got(pgx.ParseConfig(URL()))
	config.Password = "tdb_0000000000000000"
	_, err := pgx.ConnectConfig(ctx, config)
	Equal(stateOf(err), "28P01")
	return nil
}

func copyRefused(ctx context.Context, conn *pgx.Conn) {
	_, err := conn.CopyFrom(ctx, pgx.Identifier{"accounts"}, []string{"name", "email"}, pgx.CopyFromRows([][]any{{"C", "copy@test.com"}}))
	Equal(stateOf(err), "0A000")
	Equal(pgError(err).Message, "COPY protocol is not supported through the proxy. Use the import endpoint or INSERT statements instead.")
	Equal(count(ctx, conn, "generate_series(1, 3)"), 3)
}

func listen(ctx context.Context) error {
	listener, sender := connect(ctx), connect(ctx)
	defer listener.Close(ctx)
	defer sender.Close(ctx)
	Got(listener.Exec(ctx, "LISTEN news"))
	Got(sender.Exec(ctx, "SELECT pg_notify('news', 'to pgx')"))
	said := Got(listener.WaitForNotification(ctx))
	Equal(said.Payload, "to pgx")
	return nil
}

func count(ctx context.Context, conn *pgx.Conn, table string) int {
	var rows int
	Must(conn.QueryRow(ctx, "SELECT count(*) FROM "+table).Scan(&rows))
	return rows
}

func pgError(err error) *pgconn.PgError {
	var told *pgconn.PgError
	if errors.As(err, &told) {
		return told
	}
	return &pgconn.PgError{Code: fmt.Sprint("no PgError: ", err)}
}

func stateOf(err error) string {
	if err == nil {
		return ""
	}
	return pgError(err).Code
}
