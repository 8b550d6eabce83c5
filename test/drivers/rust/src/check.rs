//! Prints one line for each thing a driver was seen to do, and ends the program with 1 when one of them went wrong.
use std::fmt::{Debug, Display};
use std::future::Future;
use std::time::Duration;

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

pub fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

#[derive(Default)]
pub struct Checks {
    failed: bool,
}

impl Checks {
    pub async fn step(&mut self, name: &str, work: impl Future<Output = Result<(), Failure>>) {
        match tokio::time::timeout(Duration::from_secs(60), work).await {
            Ok(Ok(())) => println!("ok {name}"),
            Ok(Err(error)) => self.fail(name, error),
            Err(_) => self.fail(name, "it did not end"),
        }
    }

    fn fail(&mut self, name: &str, why: impl Display) {
        self.failed = true;
        println!("fail {name}: {}", why.to_string().replace('\n', " "));
    }

    pub fn finish(self) {
        std::process::exit(self.failed.into());
    }
}

pub fn equal<T: PartialEq + Debug>(got: T, wanted: T) -> Result<(), Failure> {
    if got == wanted { Ok(()) } else { Err(format!("got {got:?}, expected {wanted:?}").into()) }
}

/// Says which version of a crate is tested: the one that is locked.
pub fn print_version(name: &str) {
    let lock = include_str!("../Cargo.lock");
    let version = lock.split(&format!("name = \"{name}\"\nversion = \"")).nth(1).and_then(|rest| rest.split('"').next());
    println!("version {}", version.unwrap_or("unknown"));
}
