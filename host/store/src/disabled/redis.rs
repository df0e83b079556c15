//! Replaces the `redis` module if its feature is off: types without values.

use std::io;

use crate::health::Monitor;
use crate::operation::{Changed, Operation};
use crate::{
    Batch, Committed, Entry, Health, Lifetime, NamespaceConfig, RedisSettings, StoreEpoch, Ttl, Unavailable,
    WriteResult,
};

pub(crate) struct RedisSecrets;

impl RedisSecrets {
    pub fn read(_: &RedisSettings) -> Result<Self, String> {
        Err("this program is built without stores in Redis".to_owned())
    }
}

#[derive(Debug)]
pub(crate) enum Redis {}

#[derive(Clone, Debug)]
pub(crate) enum RedisNamespace {}

impl Redis {
    pub fn open(_: &RedisSettings, _: RedisSecrets) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub fn namespace(&self, _: NamespaceConfig) -> RedisNamespace {
        match *self {}
    }

    pub fn health(&self) -> Health {
        match *self {}
    }

    pub fn monitor(&self) -> &Monitor {
        match *self {}
    }

    pub fn epoch(&self) -> StoreEpoch {
        match *self {}
    }

    pub fn address(&self) -> &str {
        match *self {}
    }

    pub async fn memory_bytes(&self) -> Option<u64> {
        match *self {}
    }

    pub async fn names(&self) -> Result<Vec<String>, Unavailable> {
        match *self {}
    }
}

impl RedisNamespace {
    pub fn ready(&self) -> Result<(), Unavailable> {
        match *self {}
    }

    pub async fn get(&self, _: &str) -> Result<Option<Vec<u8>>, Unavailable> {
        match *self {}
    }

    pub async fn get_many(&self, _: &[&str]) -> Result<Vec<Option<Vec<u8>>>, Unavailable> {
        match *self {}
    }

    pub async fn ttl(&self, _: &str) -> Result<Option<Ttl>, Unavailable> {
        match *self {}
    }

    pub async fn commit(&self, _: &Batch<'_>) -> WriteResult<Committed> {
        match *self {}
    }

    pub async fn change(&self, _: &str, _: Operation<'_>, _: Lifetime) -> WriteResult<Changed> {
        match *self {}
    }

    pub async fn delete(&self, _: &str) -> Result<bool, Unavailable> {
        match *self {}
    }

    pub async fn usage(&self) -> Result<u64, Unavailable> {
        match *self {}
    }

    pub fn known_usage(&self) -> Option<u64> {
        match *self {}
    }

    pub fn quota(&self) -> u64 {
        match *self {}
    }

    pub async fn clear(&self) -> Result<(), Unavailable> {
        match *self {}
    }

    pub async fn purge(&self) -> Result<(), Unavailable> {
        match *self {}
    }

    pub async fn entries(&self, _: (usize, u64)) -> Result<(Vec<Entry>, Option<(usize, u64)>), Unavailable> {
        match *self {}
    }
}
