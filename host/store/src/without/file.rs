//! Stands in for the store in a file if the crate is built without it: types that have no values.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::health::Record;
use crate::operation::{Changed, Operation};
use crate::{Entry, FileHome, Health, OpenError, Space, Unavailable, Written};

#[derive(Debug)]
pub(crate) enum File {}

#[derive(Clone, Debug)]
pub(crate) enum Part {}

impl File {
    pub fn open(home: &FileHome, _: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let path = home.path.display();
        Err(OpenError(format!("{path}: this program is built without stores in files")))
    }

    pub fn part(&self, _: Space) -> Part {
        match *self {}
    }

    pub fn names(&self) -> Vec<String> {
        match *self {}
    }

    pub fn health(&self) -> Health {
        match *self {}
    }

    pub fn record(&self) -> &Record {
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

    pub fn retake(&self) {
        match *self {}
    }

    pub fn close(&self, _: Duration) -> bool {
        match *self {}
    }
}

impl Part {
    pub async fn get(&self, _: &str) -> Result<Option<Vec<u8>>, Unavailable> {
        match *self {}
    }

    pub async fn change(&self, _: &str, _: Operation<'_>, _: Option<Duration>) -> Written<Changed> {
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
