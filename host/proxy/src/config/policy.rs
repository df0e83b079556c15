//! The policy of a virtual server, and its shadow policy.

use reprieve_policy_host::{BreakerSettings, Isolation, Limits, OnFailure, digest};
use reprieve_settings::format::{
    Format, Type, count, custom, optional, positive_duration, size, table, text, word,
};
use reprieve_settings::{Error, Key, Location, Section, Table};

/// The policy of a virtual server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyConfig {
    /// Name of a built-in policy, or the path of a component.
    pub component: String,
    /// SHA-256 that the component must have.
    pub sha256: Option<[u8; 32]>,
    /// The policy's own settings, in the order of the file.
    pub settings: Vec<(String, String)>,
    /// How long its instances live.
    pub isolation: Isolation,
    /// When it is paused because of failures.
    pub breaker: BreakerSettings,
    /// What happens to a login if it fails.
    pub on_failure: OnFailure,
    /// The resources that it may use.
    pub limits: Limits,
    /// Bytes that it may keep in the store.
    pub store_quota: u64,
    /// Where the component is configured, for errors that are found when it is loaded.
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

/// `[virtual-server.policy]`
impl Table for PolicyConfig {
    type Output = Self;

    fn defaults() -> Self {
        Self::default()
    }

    fn keys() -> Vec<Key<Self>> {
        let mut keys = component_keys();
        keys.push(Key::new(
            "on-failure",
            |policy: &mut Self| &mut policy.on_failure,
            word(&[("pass", OnFailure::Pass), ("deny", OnFailure::Deny)]),
            "What happens to a login if the policy fails.",
        ));
        keys.extend(table_keys());
        keys
    }

    fn build(mut self, section: &Section<'_, '_>) -> Result<Self, Error> {
        self.location = match section.value("component") {
            Some(component) => component.location(),
            None => section.location(),
        };
        Ok(self)
    }
}

/// `[virtual-server.shadow]`: the failures of this policy have no consequences.
pub(super) struct ShadowTable(PolicyConfig);

impl Table for ShadowTable {
    type Output = PolicyConfig;

    fn defaults() -> Self {
        Self(PolicyConfig::default())
    }

    fn keys() -> Vec<Key<Self>> {
        let keys = component_keys().into_iter().chain(table_keys());
        let within = |key: Key<PolicyConfig>| key.within(|shadow: &mut Self| &mut shadow.0);
        keys.map(|key| within(key).documented_in("[virtual-server.policy]")).collect()
    }

    fn build(self, section: &Section<'_, '_>) -> Result<PolicyConfig, Error> {
        self.0.build(section)
    }
}

fn component_keys() -> Vec<Key<PolicyConfig>> {
    vec![
        Key::new(
            "component",
            |policy: &mut PolicyConfig| &mut policy.component,
            text(),
            "Name of a built-in policy, or the path of a component.",
        ),
        Key::new(
            "sha256",
            |policy: &mut PolicyConfig| &mut policy.sha256,
            optional(sha256()),
            "SHA-256 that the component must have, as `reprieve policy inspect` prints it.",
        )
        .example("\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\""),
        Key::new(
            "settings",
            |policy: &mut PolicyConfig| &mut policy.settings,
            settings(),
            "The policy's own settings. `reprieve policy inspect` and the policy's documentation describe them.",
        )
        .example("{ interval = \"10m\", reset = \"daily\", manner = \"unchanged\", start = \"authenticated\", memory-limit = \"32MiB\" }"),
        Key::new(
            "isolation",
            |policy: &mut PolicyConfig| &mut policy.isolation,
            word(&[("reuse", Isolation::Reuse), ("call", Isolation::Call)]),
            "`\"reuse\"` calls an instance again and again; `\"call\"` makes a new instance for each call.",
        ),
        Key::new(
            "store-quota",
            |policy: &mut PolicyConfig| &mut policy.store_quota,
            size(0..=u64::MAX),
            "Maximum size of what the policy keeps in the store.",
        ),
    ]
}

fn table_keys() -> Vec<Key<PolicyConfig>> {
    vec![
        Key::new(
            "breaker",
            |policy: &mut PolicyConfig| &mut policy.breaker,
            table::<BreakerTable>(),
            "The circuit breaker, which pauses a policy that fails again and again.",
        ),
        Key::new(
            "limits",
            |policy: &mut PolicyConfig| &mut policy.limits,
            table::<Limits>(),
            "The resources that the policy may use.",
        ),
    ]
}

struct BreakerTable(BreakerSettings);

impl Table for BreakerTable {
    type Output = BreakerSettings;

    fn defaults() -> Self {
        Self(BreakerSettings::default())
    }

    fn keys() -> Vec<Key<Self>> {
        vec![
            Key::new(
                "failures",
                |breaker: &mut Self| &mut breaker.0.failures,
                count(0..=1_000_000),
                "Failures in a row after which the policy is paused. 0 never pauses it.",
            ),
            Key::new(
                "pause",
                |breaker: &mut Self| &mut breaker.0.pause,
                positive_duration(),
                "The first pause. A trial call follows it; each one that fails doubles the pause.",
            ),
            Key::new(
                "max-pause",
                |breaker: &mut Self| &mut breaker.0.max_pause,
                positive_duration(),
                "The longest pause; at least `pause`.",
            ),
        ]
    }

    fn build(self, section: &Section<'_, '_>) -> Result<BreakerSettings, Error> {
        let mut breaker = self.0;
        match section.value("max-pause") {
            Some(value) if breaker.max_pause < breaker.pause => Err(value.error("is shorter than `pause`")),
            Some(_) => Ok(breaker),
            None => {
                breaker.max_pause = breaker.max_pause.max(breaker.pause);
                Ok(breaker)
            }
        }
    }
}

fn sha256() -> impl Format<[u8; 32]> {
    custom(
        Type::String("64 hexadecimal digits"),
        |value| {
            digest::from_hex(value.text()?).ok_or_else(|| {
                value.error(
                    "must be the 64 hexadecimal digits that `reprieve policy inspect` or sha256sum prints",
                )
            })
        },
        |_| None,
    )
}

fn settings() -> impl Format<Vec<(String, String)>> {
    custom(
        Type::FreeTable,
        |value| {
            let entries = value.section()?.entries();
            entries.into_iter().map(|(key, value)| Ok((key.to_owned(), value.setting()?))).collect()
        },
        |_| None,
    )
}
