//! Stands in for the store in Redis if the crate is built without it: types that have no values.

use std::io;
use std::time::Duration;

use crate::health::Record;
use crate::operation::{Changed, Operation};
use crate::{Entry, Health, RedisHome, Space, Unavailable, Written};

pub(crate) struct Keys;

impl Keys {
    pub fn read(_: &RedisHome) -> Result<Self, String> {
        Err("this program is built without stores in Redis".to_owned())
    }
}

#[derive(Debug)]
pub(crate) enum Redis {}

#[derive(Clone, Debug)]
pub(crate) enum Part {}

impl Redis {
    pub fn open(_: &RedisHome, _: Keys) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub fn part(&self, _: Space) -> Part {
        match *self {}
    }

    pub fn health(&self) -> Health {
        match *self {}
    }

    pub fn record(&self) -> &Record {
        match *self {}
    }

    pub fn address(&self) -> &str {
        match *self {}
    }

    pub async fn memory(&self) -> Option<u64> {
        match *self {}
    }

    pub async fn names(&self) -> Result<Vec<String>, Unavailable> {
        match *self {}
    }
}

impl Part {
    pub fn ready(&self) -> Result<(), Unavailable> {
        match *self {}
    }

    pub async fn get(&self, _: &str) -> Result<Option<Vec<u8>>, Unavailable> {
        match *self {}
    }

    pub async fn change(&self, _: &str, _: Operation<'_>, _: Option<Duration>) -> Written<Changed> {
        match *self {}
    }

    pub async fn delete(&self, _: &str) -> Result<bool, Unavailable> {
        match *self {}
    }

    pub async fn usage(&self) -> Result<u64, Unavailable> {
        match *self {}
    }

    pub fn usage_told(&self) -> Option<u64> {
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
