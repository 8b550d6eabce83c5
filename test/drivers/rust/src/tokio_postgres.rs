//! tokio-postgres over rustls, and deadpool-postgres as its pool.
mod check;

use check::{Checks, Failure, env, equal};
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use futures_util::{StreamExt, TryStreamExt, future, stream};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use std::time::Duration;
use time::macros::datetime;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Json;
use tokio_postgres::{AsyncMessage, Client, Config, Error, IsolationLevel};
use tokio_postgres_rustls::MakeRustlsConnect;
use uuid::{Uuid, uuid};

fn config() -> Config {
    let mut config = Config::new();
    config.host(env("TDB_HOST")).port(env("TDB_PORT").parse().unwrap()).dbname(env("TDB_DATABASE")).user(env("TDB_USER")).password(env("TDB_PASSWORD"));
    config.ssl_mode(tokio_postgres::config::SslMode::Require);
    config
}

fn tls() -> MakeRustlsConnect {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(env("TDB_CA_FILE")).unwrap()).unwrap();
    MakeRustlsConnect::new(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

async fn connect() -> Result<Client, Error> {
    let (client, connection) = config().connect(tls()).await?;
    tokio::spawn(connection);
    Ok(client)
}

fn pool(size: usize) -> Pool {
    let manager = Manager::from_config(config(), tls(), ManagerConfig { recycling_method: RecyclingMethod::Verified });
    Pool::builder(manager).max_size(size).build().unwrap()
}

#[tokio::main]
async fn main() {
    rustls::crypto::ring::default_provider().install_default().unwrap();
    check::print_version("tokio-postgres");
    let mut checks = Checks::default();
    checks.step("types", types()).await;
    checks.step("prepared statements", prepared()).await;
    checks.step("transactions", transactions()).await;
    checks.step("pool", many()).await;
    checks.step("cancellation", cancellation()).await;
    checks.step("errors", errors()).await;
    checks.step("LISTEN", listen()).await;
    checks.step("reconnect", reconnect()).await;
    checks.step("pipelined queries", pipelined()).await;
    checks.step("portals", portals()).await;
    checks.step("wrong password", wrong_password()).await;
    checks.step("COPY refused", copy_refused()).await;
    checks.finish();
}

async fn types() -> Result<(), Failure> {
    let moment = datetime!(2026-02-28 23:59:59.123456 UTC);
    let id = uuid!("00112233-4455-6677-8899-aabbccddeeff");
    let sql = "SELECT $1::int8, $2::float8, $3::text, $4::bytea, $5::timestamptz, $6::int4[], $7::jsonb, $8::uuid, $9::text";
    let row = connect()
        .await?
        .query_one(
            sql,
            &[&(1i64 << 62), &1.5f64, &"žluťoučký 🐘", &vec![0u8, 1, 255], &moment, &vec![1, 2, 3], &Json(serde_json::json!({"a": "b"})), &id, &None::<&str>],
        )
        .await?;
    equal(row.get::<_, i64>(0), 1 << 62)?;
    equal(row.get::<_, f64>(1), 1.5)?;
    equal(row.get::<_, &str>(2), "žluťoučký 🐘")?;
    equal(row.get::<_, &[u8]>(3), &[0, 1, 255])?;
    equal(row.get::<_, time::OffsetDateTime>(4), moment)?;
    equal(row.get::<_, Vec<i32>>(5), vec![1, 2, 3])?;
    equal(row.get::<_, serde_json::Value>(6), serde_json::json!({"a": "b"}))?;
    equal(row.get::<_, Uuid>(7), id)?;
    equal(row.get::<_, Option<&str>>(8), None)
}

async fn prepared() -> Result<(), Failure> {
    let client = connect().await?;
    let twice = client.prepare("SELECT $1::int4 * 2").await?;
    for n in 0..50 {
        equal(client.query_one(&twice, &[&n]).await?.get::<_, i32>(0), 2 * n)?;
    }
    Ok(())
}

async fn transactions() -> Result<(), Failure> {
    let mut client = connect().await?;
    client.batch_execute("CREATE TEMP TABLE steps (n int)").await?;
    let mut outer = client.build_transaction().isolation_level(IsolationLevel::Serializable).start().await?;
    outer.execute("INSERT INTO steps VALUES (1)", &[]).await?;
    let inner = outer.transaction().await?;
    state(inner.batch_execute("INSERT INTO steps VALUES (1/0)").await, SqlState::DIVISION_BY_ZERO)?;
    inner.rollback().await?;
    outer.commit().await?;
    let dropped = client.transaction().await?;
    dropped.execute("INSERT INTO steps VALUES (2)", &[]).await?;
    drop(dropped);
    equal(client.query_one("SELECT sum(n) FROM steps", &[]).await?.get::<_, i64>(0), 1)
}

async fn many() -> Result<(), Failure> {
    let pool = pool(4);
    stream::iter(0..60)
        .map(|n| {
            let pool = &pool;
            async move {
                let client = pool.get().await?;
                let twice = client.prepare_cached("SELECT $1::int4 * 2").await?;
                equal(client.query_one(&twice, &[&n]).await?.get::<_, i32>(0), 2 * n)
            }
        })
        .buffer_unordered(20)
        .try_collect::<Vec<()>>()
        .await?;
    equal(pool.status().size <= 4, true)
}

async fn cancellation() -> Result<(), Failure> {
    let client = connect().await?;
    let token = client.cancel_token();
    let running = client.batch_execute("SELECT pg_sleep(30)");
    tokio::pin!(running);
    // Until one arrives while the statement runs.
    let told = loop {
        tokio::select! {
            told = &mut running => break told,
            _ = tokio::time::sleep(Duration::from_millis(50)) => token.cancel_query(tls()).await?,
        }
    };
    state(told, SqlState::QUERY_CANCELED)?;
    client.batch_execute("SET statement_timeout = 50").await?;
    state(client.batch_execute("SELECT pg_sleep(30)").await, SqlState::QUERY_CANCELED)?;
    equal(client.query_one("SELECT 1", &[]).await?.get::<_, i32>(0), 1)
}

async fn errors() -> Result<(), Failure> {
    let mut client = connect().await?;
    let refused = client.batch_execute("CREATE TABLE mine (i int)").await.expect_err("DDL");
    let refused = refused.as_db_error().ok_or("no error of the server")?;
    equal((refused.code(), refused.message()), (&SqlState::INSUFFICIENT_PRIVILEGE, "DDL not allowed on tenant databases, use workspace mode"))?;
    let transaction = client.transaction().await?;
    let insert = "INSERT INTO accounts (name, email) VALUES ('Twice', 'rust-twice@test.com')";
    transaction.execute(insert, &[]).await?;
    let twice = transaction.execute(insert, &[]).await.expect_err("the same again");
    let twice = twice.as_db_error().ok_or("no error of the server")?;
    equal((twice.code(), twice.constraint()), (&SqlState::UNIQUE_VIOLATION, Some("accounts_email_key")))
}

async fn listen() -> Result<(), Failure> {
    let (client, mut connection) = config().connect(tls()).await?;
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = future::poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(said) = message {
                sender.send(said.payload().to_owned()).ok();
            }
        }
    });
    client.batch_execute("LISTEN news").await?;
    connect().await?.execute("SELECT pg_notify('news', 'to rust')", &[]).await?;
    equal(receiver.recv().await, Some("to rust".to_owned()))
}

async fn reconnect() -> Result<(), Failure> {
    let pool = pool(1);
    state(pool.get().await?.batch_execute("SELECT pg_terminate_backend(pg_backend_pid())").await, SqlState::ADMIN_SHUTDOWN)?;
    equal(pool.get().await?.query_one("SELECT 1", &[]).await?.get::<_, i32>(0), 1)
}

/// Futures polled together are sent without waiting for answers.
async fn pipelined() -> Result<(), Failure> {
    let client = connect().await?;
    let statement = client.prepare("SELECT 60 / $1::int4").await?;
    let answers = future::join_all((0..20i32).map(|n| {
        let (client, statement) = (&client, &statement);
        async move { client.query_one(statement, &[&n]).await.map(|row| row.get::<_, i32>(0)) }
    }))
    .await;
    for (n, answer) in (0..).zip(answers) {
        if n == 0 { state(answer, SqlState::DIVISION_BY_ZERO)? } else { equal(answer?, 60 / n)? }
    }
    Ok(())
}

async fn portals() -> Result<(), Failure> {
    let mut client = connect().await?;
    let transaction = client.transaction().await?;
    let portal = transaction.bind("SELECT n FROM generate_series(1, 1000) n", &[]).await?;
    let (mut sum, mut rounds) = (0, 0);
    loop {
        let rows = transaction.query_portal(&portal, 300).await?;
        if rows.is_empty() {
            break;
        }
        rounds += 1;
        sum += rows.iter().map(|row| row.get::<_, i32>(0)).sum::<i32>();
    }
    equal((sum, rounds), (1000 * 1001 / 2, 4))
}

async fn wrong_password() -> Result<(), Failure> {
    state(config().password("tdb_0000000000000000").connect(tls()).await, SqlState::INVALID_PASSWORD)
}

async fn copy_refused() -> Result<(), Failure> {
    let client = connect().await?;
    state(client.copy_out("COPY accounts TO STDOUT").await, SqlState::FEATURE_NOT_SUPPORTED)?;
    equal(client.query_one("SELECT 1", &[]).await?.get::<_, i32>(0), 1)?;
    // The last of its connection: tokio-postgres ends a copy that was refused with messages that nobody waits for, whatever the server.
    state(client.copy_in::<_, &[u8]>("COPY accounts FROM STDIN").await, SqlState::FEATURE_NOT_SUPPORTED)
}

fn state<T>(told: Result<T, Error>, wanted: SqlState) -> Result<(), Failure> {
    match told {
        Ok(_) => Err("it was expected to fail".into()),
        Err(error) => equal(error.code(), Some(&wanted)).map_err(|unlike| format!("{unlike}: {error:?}").into()),
    }
}
