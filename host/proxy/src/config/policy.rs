//! A virtual server's policy: what can be set of it.

use reprieve_policy_host::{BreakerSettings, Isolation, Limits, OnFailure, digest, limits};
use reprieve_settings::Location;
use reprieve_settings::{Error, Section, Value};

/// A virtual server's policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyConfig {
    /// A built-in policy's name or a file's path.
    pub component: String,
    /// SHA-256 that the component must have.
    pub sha256: Option<[u8; 32]>,
    /// Settings in their order.
    pub settings: Vec<(String, String)>,
    /// How long its instances live.
    pub isolation: Isolation,
    /// When it is paused.
    pub breaker: BreakerSettings,
    /// What happens when it fails.
    pub on_failure: OnFailure,
    /// What it may use.
    pub limits: Limits,
    /// Octets that it may keep in the store.
    pub store_quota: u64,
    /// Where the component is named, for errors that show only when it is loaded.
    pub location: Location,
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self {
            component: "interval".to_owned(),
            sha256: None,
            settings: Vec::new(),
            isolation: Isolation::default(),
            breaker: BreakerSettings::default(),
            on_failure: OnFailure::Pass,
            limits: Limits::default(),
            store_quota: 64 << 20,
            location: "policy".into(),
        }
    }
}

pub(super) fn policy(value: &Value<'_, '_>) -> Result<PolicyConfig, Error> {
    let mut section = value.section()?;
    let mut policy = component(&mut section)?;
    if let Some(value) = section.get("on-failure") {
        policy.on_failure = value.choice(&[("pass", OnFailure::Pass), ("deny", OnFailure::Deny)])?;
    }
    section.finish()?;
    Ok(policy)
}

/// A policy in the shadow of another: its failures have no consequences.
pub(super) fn shadow(value: &Value<'_, '_>) -> Result<PolicyConfig, Error> {
    let mut section = value.section()?;
    let policy = component(&mut section)?;
    section.finish()?;
    Ok(policy)
}

fn component(section: &mut Section<'_, '_>) -> Result<PolicyConfig, Error> {
    let mut policy = PolicyConfig::default();
    if let Some(value) = section.get("component") {
        value.text()?.clone_into(&mut policy.component);
        policy.location = value.location();
    } else {
        policy.location = section.location();
    }
    if let Some(value) = section.get("sha256") {
        let pinned = digest::from_hex(value.text()?);
        policy.sha256 = Some(pinned.ok_or_else(|| {
            value.error("must be the 64 hexadecimal digits that `reprieve policy inspect` or sha256sum print")
        })?);
    }
    if let Some(value) = section.get("isolation") {
        policy.isolation = value.choice(&[("reuse", Isolation::Reuse), ("call", Isolation::Call)])?;
    }
    if let Some(value) = section.get("breaker") {
        breaker(&value, &mut policy.breaker)?;
    }
    if let Some(value) = section.get("settings") {
        for (key, value) in value.section()?.entries() {
            policy.settings.push((key.to_owned(), value.setting()?));
        }
    }
    if let Some(value) = section.get("store-quota") {
        policy.store_quota = value.size()?;
    }
    if let Some(value) = section.get("limits") {
        limits(&value, &mut policy.limits)?;
    }
    Ok(policy)
}

fn breaker(value: &Value<'_, '_>, breaker: &mut BreakerSettings) -> Result<(), Error> {
    let mut section = value.section()?;
    if let Some(value) = section.get("failures") {
        breaker.failures = value.count_u32(0, 1_000_000)?;
    }
    if let Some(value) = section.get("pause") {
        breaker.pause = value.positive_duration()?;
        breaker.longest_pause = breaker.longest_pause.max(breaker.pause);
    }
    if let Some(value) = section.get("longest-pause") {
        breaker.longest_pause = value.positive_duration()?;
        if breaker.longest_pause < breaker.pause {
            return Err(value.error("is shorter than `pause`"));
        }
    }
    section.finish()
}
