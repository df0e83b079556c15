//! The host's side of the imports of 0.1.

use std::time::Duration;

use tracing::Level;
use wasmtime::Result;

use super::bindings::reprieve::policy::{log, store, types};
use crate::instance::State;
use crate::metrics::Overrun;
use reprieve_store::Refused;

impl types::Host for State {}

impl store::Host for State {
    async fn get(&mut self, key: String) -> Result<Option<Vec<u8>>> {
        Ok(self.meter.ask(self.namespace.get(&key)).await?)
    }

    async fn set(
        &mut self,
        key: String,
        value: Vec<u8>,
        ttl: Option<u32>,
    ) -> Result<Result<(), store::Refused>> {
        let written = self.meter.ask(self.namespace.set(&key, &value, seconds(ttl))).await?;
        Ok(written.map_err(|why| self.refused(why)))
    }

    async fn add(
        &mut self,
        key: String,
        value: Vec<u8>,
        ttl: Option<u32>,
    ) -> Result<Result<bool, store::Refused>> {
        let written = self.meter.ask(self.namespace.add(&key, &value, seconds(ttl))).await?;
        Ok(written.map_err(|why| self.refused(why)))
    }

    async fn compare_and_set(
        &mut self,
        key: String,
        expected: Vec<u8>,
        value: Vec<u8>,
        ttl: Option<u32>,
    ) -> Result<Result<bool, store::Refused>> {
        let written =
            self.meter.ask(self.namespace.compare_and_set(&key, &expected, &value, seconds(ttl))).await?;
        Ok(written.map_err(|why| self.refused(why)))
    }

    async fn increment(
        &mut self,
        key: String,
        by: i32,
        ttl: Option<u32>,
    ) -> Result<Result<i64, store::Refused>> {
        let written = self.meter.ask(self.namespace.increment(&key, i64::from(by), seconds(ttl))).await?;
        Ok(written.map_err(|why| self.refused(why)))
    }

    async fn delete(&mut self, key: String) -> Result<bool> {
        Ok(self.meter.ask(self.namespace.delete(&key)).await?)
    }

    async fn usage(&mut self) -> Result<u64> {
        Ok(self.meter.ask(self.namespace.usage()).await?)
    }

    async fn clear(&mut self) -> Result<()> {
        Ok(self.meter.ask(self.namespace.clear()).await?)
    }
}

impl log::Host for State {
    fn line(&mut self, level: log::Level, text: String) -> Result<()> {
        self.log_line(
            match level {
                log::Level::Debug => Level::DEBUG,
                log::Level::Info => Level::INFO,
                log::Level::Warn => Level::WARN,
                log::Level::Error => Level::ERROR,
            },
            &text,
        );
        Ok(())
    }
}

fn seconds(ttl: Option<u32>) -> Option<Duration> {
    ttl.map(|seconds| Duration::from_secs(u64::from(seconds)))
}

impl State {
    fn refused(&self, why: Refused) -> store::Refused {
        match why {
            Refused::Quota => {
                self.log.overran(Overrun::StoreQuota);
                store::Refused::Quota
            }
            Refused::TooLong => {
                self.log.overran(Overrun::StoreLength);
                store::Refused::TooLong
            }
            Refused::NotANumber => store::Refused::NotANumber,
        }
    }
}
