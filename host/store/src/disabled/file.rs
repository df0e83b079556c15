//! Replaces the `file` module if its feature is off: types without values.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::health::Monitor;
use crate::operation::{Changed, Operation};
use crate::{
    Batch, Committed, Entry, FileSettings, Health, Lifetime, NamespaceConfig, OpenError, Ttl, Unavailable,
    WriteResult,
};

#[derive(Debug)]
pub(crate) enum File {}

#[derive(Clone, Debug)]
pub(crate) enum FileNamespace {}

impl File {
    pub fn open(settings: &FileSettings, _: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let path = settings.path.display();
        Err(OpenError(format!("{path}: this program is built without stores in files")))
    }

    pub fn namespace(&self, _: NamespaceConfig) -> FileNamespace {
        match *self {}
    }

    pub fn names(&self) -> Vec<String> {
        match *self {}
    }

    pub fn health(&self) -> Health {
        match *self {}
    }

    pub fn monitor(&self) -> &Monitor {
        match *self {}
    }

    pub fn path(&self) -> &Path {
        match *self {}
    }

    pub fn crashes(&self) -> u64 {
        match *self {}
    }

    pub async fn save(&self) -> bool {
        match *self {}
    }

    pub async fn release(&self) -> bool {
        match *self {}
    }

    pub fn reacquire(&self) {
        match *self {}
    }

    pub fn close(&self, _: Duration) -> bool {
        match *self {}
    }
}

impl FileNamespace {
    pub async fn get(&self, _: &str) -> Result<Option<Vec<u8>>, Unavailable> {
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

    pub fn usage(&self) -> u64 {
        match *self {}
    }

    pub fn quota(&self) -> u64 {
        match *self {}
    }

    pub fn clear(&self) {
        match *self {}
    }

    pub async fn entries(&self, _: Vec<u8>) -> Result<(Vec<Entry>, Option<Vec<u8>>), Unavailable> {
        match *self {}
    }
}
