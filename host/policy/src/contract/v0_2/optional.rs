//! The interfaces that a policy may export besides `handler`: `settings` and `sessions`. The host
//! looks for them when a component is linked.

use std::sync::Arc;

use wasmtime::component::{Instance, InstancePre};
use wasmtime::{Result, Store};

use super::{types, wrong_types};
use crate::instance::State;
use crate::settings::{Kind, Setting};
use sessions_bindings::exports::reprieve::policy::sessions::Summary;

mod settings_bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/v0.2",
        inline: "package reprieve:host; world settings { export reprieve:policy/settings@0.2.0; }",
        exports: { default: async },
        require_store_data_send: true,
    });
}

mod sessions_bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/v0.2",
        inline: "package reprieve:host; world sessions { export reprieve:policy/sessions@0.2.0; }",
        with: { "reprieve:policy/types@0.2.0": crate::contract::v0_2::bindings::reprieve::policy::types },
        exports: { default: async },
        require_store_data_send: true,
    });
}

/// Where a component has them.
#[derive(Clone, Default)]
pub(super) struct OptionalIndices {
    settings: Option<Arc<settings_bindings::SettingsIndices>>,
    sessions: Option<Arc<sessions_bindings::SessionsIndices>>,
}

/// Those of an instance.
#[derive(Default)]
pub(super) struct OptionalExports {
    settings: Option<settings_bindings::Settings>,
    sessions: Option<sessions_bindings::Sessions>,
}

impl OptionalIndices {
    /// `exports`: whether the component exports an interface.
    pub(super) fn new(component: &InstancePre<State>, exports: impl Fn(&str) -> bool) -> Result<Self> {
        let mut found = Self::default();
        if exports("reprieve:policy/settings") {
            found.settings = Some(Arc::new(settings_bindings::SettingsIndices::new(component)?));
        }
        if exports("reprieve:policy/sessions") {
            found.sessions = Some(Arc::new(sessions_bindings::SessionsIndices::new(component)?));
        }
        Ok(found)
    }

    pub(super) fn has_sessions(&self) -> bool {
        self.sessions.is_some()
    }

    pub(super) fn load(&self, store: &mut Store<State>, instance: &Instance) -> Result<OptionalExports> {
        let settings = self.settings.as_ref().map(|indices| {
            indices.load(&mut *store, instance).map_err(|error| wrong_types("settings", &error))
        });
        let sessions = self.sessions.as_ref().map(|indices| {
            indices.load(&mut *store, instance).map_err(|error| wrong_types("sessions", &error))
        });
        Ok(OptionalExports { settings: settings.transpose()?, sessions: sessions.transpose()? })
    }
}

impl OptionalExports {
    /// The settings that the policy describes; None if it does not.
    pub(super) async fn describe(&self, store: &mut Store<State>) -> Result<Option<Vec<Setting>>> {
        let Some(settings) = &self.settings else { return Ok(None) };
        let described = settings.reprieve_policy_settings().call_describe(store).await?;
        let described = described.into_iter().map(|setting| Setting {
            name: setting.name,
            kind: Kind::of(&setting.type_),
            default: setting.default,
            doc: setting.doc,
        });
        Ok(Some(described.collect()))
    }

    /// Reports the end of a session, if the policy wants to know. Returns what it remembers.
    pub(super) async fn ended(
        &self,
        store: &mut Store<State>,
        summary: &crate::SessionSummary,
        memory: types::Memory,
    ) -> Result<Option<types::Memory>> {
        let Some(sessions) = &self.sessions else { return Ok(None) };
        sessions.reprieve_policy_sessions().call_ended(store, summary.into(), memory).await
    }
}

impl From<&crate::SessionSummary> for Summary {
    fn from(summary: &crate::SessionSummary) -> Self {
        let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Self {
            time: summary.time.into(),
            upgrade: summary.upgrade,
            quit: summary.quit,
            duration: number(summary.duration.as_secs()),
            fetched: summary.fetched,
            deleted: summary.deleted,
            sent_bytes: number(summary.sent_bytes),
        }
    }
}
