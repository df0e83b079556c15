//! Runs the models; see README.md.
#![cfg(shuttle)]

use std::panic::catch_unwind;

use reprieve_schedules::{MODELS, explore};

/// `MODEL`: only those whose name contains it.
#[test]
fn every_model_holds_in_every_schedule() {
    let only = std::env::var("MODEL").unwrap_or_default();
    let mut failed = Vec::new();
    for (name, model) in MODELS.iter().filter(|(name, _)| name.contains(&only)) {
        let began = std::time::Instant::now();
        let result = catch_unwind(|| explore(*model));
        let word = if result.is_ok() { "holds" } else { "FAILS" };
        println!("{word}  {:7.2} s  {name}", began.elapsed().as_secs_f64());
        if result.is_err() {
            failed.push(*name);
        }
    }
    assert!(failed.is_empty(), "failed: {failed:?}");
}
