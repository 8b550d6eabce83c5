//! sqlx: its pool, its transactions, its listener.
mod check;

use check::{Checks, Failure, env, equal};
use futures_util::{StreamExt, TryStreamExt, stream};
use rust_decimal::Decimal;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions, PgSslMode};
use sqlx::types::Json;
use sqlx::{Connection, Error, Executor, PgConnection, Row};
use std::time::Duration;
use time::macros::datetime;
use uuid::{Uuid, uuid};

fn options() -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .host(&env("TDB_HOST"))
        .port(env("TDB_PORT").parse().unwrap())
        .database(&env("TDB_DATABASE"))
        .username(&env("TDB_USER"))
        .password(&env("TDB_PASSWORD"))
        .ssl_mode(PgSslMode::VerifyFull)
        .ssl_root_cert(env("TDB_CA_FILE"))
}

async fn connect() -> Result<PgConnection, Error> {
    PgConnection::connect_with(&options()).await
}

async fn pool(size: u32) -> Result<PgPool, Error> {
    PgPoolOptions::new().max_connections(size).connect_with(options()).await
}

#[tokio::main]
async fn main() {
    check::print_version("sqlx");
    let mut checks = Checks::default();
    checks.step("types", types()).await;
    checks.step("prepared statements", prepared()).await;
    checks.step("transactions", transactions()).await;
    checks.step("pool", many()).await;
    checks.step("cancellation", cancellation()).await;
    checks.step("errors", errors()).await;
    checks.step("LISTEN", listen()).await;
    checks.step("reconnect", reconnect()).await;
    checks.step("row by row", row_by_row()).await;
    checks.step("wrong password", wrong_password()).await;
    checks.step("COPY refused", copy_refused()).await;
    checks.finish();
}

async fn types() -> Result<(), Failure> {
    let moment = datetime!(2026-02-28 23:59:59.123456 UTC);
    let id = uuid!("00112233-4455-6677-8899-aabbccddeeff");
    let amount: Decimal = "12345678901234567890.12".parse()?;
    let row = sqlx::query("SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10")
        .bind(1i64 << 62)
        .bind(1.5f64)
        .bind("žluťoučký 🐘")
        .bind(vec![0u8, 1, 255])
        .bind(moment)
        .bind(vec![1, 2, 3])
        .bind(Json(serde_json::json!({"a": "b"})))
        .bind(id)
        .bind(amount)
        .bind(None::<String>)
        .fetch_one(&mut connect().await?)
        .await?;
    equal(row.get::<i64, _>(0), 1 << 62)?;
    equal(row.get::<f64, _>(1), 1.5)?;
    equal(row.get::<String, _>(2), "žluťoučký 🐘".to_owned())?;
    equal(row.get::<Vec<u8>, _>(3), vec![0, 1, 255])?;
    equal(row.get::<time::OffsetDateTime, _>(4), moment)?;
    equal(row.get::<Vec<i32>, _>(5), vec![1, 2, 3])?;
    equal(row.get::<serde_json::Value, _>(6), serde_json::json!({"a": "b"}))?;
    equal(row.get::<Uuid, _>(7), id)?;
    equal(row.get::<Decimal, _>(8), amount)?;
    equal(row.get::<Option<String>, _>(9), None)
}

async fn prepared() -> Result<(), Failure> {
    let mut connection = connect().await?;
    for n in 0..50 {
        equal(sqlx::query_scalar::<_, i32>("SELECT $1 * 2").bind(n).fetch_one(&mut connection).await?, 2 * n)?;
    }
    equal(connection.cached_statements_size(), 1)?;
    connection.clear_cached_statements().await?;
    equal(sqlx::query_scalar::<_, i32>("SELECT $1 * 2").persistent(false).bind(21).fetch_one(&mut connection).await?, 42)
}

async fn transactions() -> Result<(), Failure> {
    let mut connection = connect().await?;
    connection.execute("CREATE TEMP TABLE steps (n int)").await?;
    let mut outer = connection.begin().await?;
    outer.execute("INSERT INTO steps VALUES (1)").await?;
    let mut inner = outer.begin().await?;
    equal(state(inner.execute("INSERT INTO steps VALUES (1/0)").await)?, "22012".to_owned())?;
    inner.rollback().await?;
    outer.commit().await?;
    let mut dropped = connection.begin().await?;
    dropped.execute("INSERT INTO steps VALUES (2)").await?;
    drop(dropped);
    equal(sqlx::query_scalar::<_, i64>("SELECT sum(n) FROM steps").fetch_one(&mut connection).await?, 1)
}

async fn many() -> Result<(), Failure> {
    let pool = pool(4).await?;
    stream::iter(0..60)
        .map(|n| {
            let pool = &pool;
            async move { equal(sqlx::query_scalar::<_, i32>("SELECT $1 * 2").bind(n).fetch_one(pool).await?, 2 * n) }
        })
        .buffer_unordered(20)
        .try_collect::<Vec<()>>()
        .await?;
    equal(pool.size() <= 4, true)
}

async fn cancellation() -> Result<(), Failure> {
    let pool = pool(1).await?;
    // A dropped future leaves its query behind: sqlx closes that connection rather than wait for it.
    let dropped = tokio::time::timeout(Duration::from_millis(200), sqlx::query("SELECT pg_sleep(2)").execute(&pool)).await;
    equal(dropped.is_err(), true)?;
    equal(sqlx::query_scalar::<_, i32>("SELECT 1").fetch_one(&pool).await?, 1)?;
    let mut connection = pool.acquire().await?;
    connection.execute("SET statement_timeout = 50").await?;
    equal(state(connection.execute("SELECT pg_sleep(30)").await)?, "57014".to_owned())?;
    connection.execute("RESET statement_timeout").await?;
    Ok(())
}

async fn errors() -> Result<(), Failure> {
    let mut connection = connect().await?;
    let refused = connection.execute("CREATE TABLE mine (i int)").await.expect_err("DDL");
    equal(refused.as_database_error().map(|told| told.message()), Some("DDL not allowed on tenant databases, use workspace mode"))?;
    let mut transaction = connection.begin().await?;
    let insert = "INSERT INTO accounts (name, email) VALUES ('Twice', 'sqlx-twice@test.com')";
    transaction.execute(insert).await?;
    let twice = transaction.execute(insert).await.expect_err("the same again");
    let twice = twice.as_database_error().ok_or("no error of the server")?;
    equal((twice.is_unique_violation(), twice.constraint()), (true, Some("accounts_email_key")))
}

async fn listen() -> Result<(), Failure> {
    let pool = pool(2).await?;
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen("news").await?;
    sqlx::query("SELECT pg_notify('news', 'to sqlx')").execute(&pool).await?;
    equal(listener.recv().await?.payload(), "to sqlx")
}

async fn reconnect() -> Result<(), Failure> {
    let pool = pool(1).await?;
    equal(state(sqlx::query("SELECT pg_terminate_backend(pg_backend_pid())").execute(&pool).await)?, "57P01".to_owned())?;
    equal(sqlx::query_scalar::<_, i32>("SELECT 1").fetch_one(&pool).await?, 1)
}

async fn row_by_row() -> Result<(), Failure> {
    let mut connection = connect().await?;
    let rows = sqlx::query_scalar::<_, i32>("SELECT n FROM generate_series(1, 20000) n").fetch(&mut connection);
    equal(rows.try_fold(0i64, |sum, n| async move { Ok(sum + i64::from(n)) }).await?, 20000 * 20001 / 2)
}

async fn wrong_password() -> Result<(), Failure> {
    equal(state(PgConnection::connect_with(&options().password("tdb_0000000000000000")).await)?, "28P01".to_owned())
}

async fn copy_refused() -> Result<(), Failure> {
    let mut connection = connect().await?;
    let refused = connection.copy_in_raw("COPY accounts (name, email) FROM STDIN").await.map(drop);
    equal(state(refused)?, "0A000".to_owned())?;
    equal(sqlx::query_scalar::<_, i32>("SELECT 1").fetch_one(&mut connection).await?, 1)
}

/// The SQLSTATE that it failed with.
fn state<T>(told: Result<T, Error>) -> Result<String, Failure> {
    match told {
        Ok(_) => Err("it was expected to fail".into()),
        Err(error) => match error.as_database_error().and_then(|told| told.code()) {
            Some(code) => Ok(code.into_owned()),
            None => Err(error.into()),
        },
    }
}
