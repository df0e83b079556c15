//! Reads scenario files. Errors name the file, line and key, and the expected value.

mod expectation;
mod login;
mod step;

use super::expectation::value;
use super::step::Step;
use reprieve_settings::{Error, Section, Source, Table as _, Value};

use crate::contract::v0_2::memory::{NUMBERS, entry};
use crate::harness::{Harness, HarnessBuilder};
use crate::{Limits, MemoryKey, OnFailure, Unverifiable, Verify};

/// A scenario: circumstances, and steps with expectations.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Name in reports.
    pub name: String,
    /// Path of the file, for reports.
    pub file: String,
    pub(super) builder: HarnessBuilder,
    pub(super) refuses: Option<String>,
    pub(super) steps: Vec<Step>,
}

impl Scenario {
    /// Reads the scenarios of a file. `component`: the policy under test. `file`: the name in
    /// errors.
    ///
    /// # Errors
    /// The first error in the file, with its line, its key and a remedy.
    pub fn parse(text: &str, file: &str, component: &str) -> Result<Vec<Self>, Error> {
        let source = Source { file, text };
        let document = source.parse()?;
        let mut top = Section::new(source, "", document.span(), document.get_ref());
        let base = circumstances(&mut top, Harness::of(component))?;
        let stem = std::path::Path::new(file).file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let name = match top.get("name") {
            Some(value) => value.text()?.to_owned(),
            None => stem.unwrap_or_else(|| file.to_owned()),
        };
        let mut scenarios = Vec::new();
        if let Some(value) = top.get("scenario") {
            for (number, value) in value.list()?.iter().enumerate() {
                let mut section = value.section()?;
                let own = match section.get("name") {
                    Some(value) => value.text()?.to_owned(),
                    None => (number + 1).to_string(),
                };
                let builder = circumstances(&mut section, base.clone())?;
                let (refuses, steps) = refusal_or_steps(&mut section, builder.pool_names())?;
                // Report misspelt keys first: one of them may be the steps.
                section.finish()?;
                if steps.is_empty() && refuses.is_none() {
                    return Err(value.error("has neither steps nor `refuses`: it tests nothing"));
                }
                scenarios.push(Self {
                    name: format!("{name}: {own}"),
                    file: file.to_owned(),
                    builder,
                    refuses,
                    steps,
                });
            }
        }
        let (refuses, steps) = refusal_or_steps(&mut top, base.pool_names())?;
        match (scenarios.is_empty(), steps.is_empty() && refuses.is_none()) {
            (true, true) => {
                let nothing = top.error(
                    "nothing is tested: add steps, such as [[step]] with login = \"alice\" and expect = \"pass\""
                        .to_owned(),
                );
                // A misspelt key may be the steps.
                top.finish()?;
                return Err(nothing);
            }
            (false, false) => {
                return Err(top.error(
                    "there are steps at the top and in [[scenario]]; move those at the top into a [[scenario]]".to_owned(),
                ));
            }
            (true, false) => {
                scenarios.push(Self { name, file: file.to_owned(), builder: base, refuses, steps })
            }
            (false, true) => {}
        }
        top.finish()?;
        Ok(scenarios)
    }

    /// Settings of the policy, in order.
    #[must_use]
    pub fn settings(&self) -> &[(String, String)] {
        self.builder.settings()
    }

    /// Replaces a setting of the policy.
    pub fn set(&mut self, key: &str, value: &str) {
        self.builder = self.builder.clone().setting(key, value);
    }

    /// Replaces the seed of the policy's random numbers.
    pub fn seed(&mut self, seed: u64) {
        self.builder = self.builder.clone().seed(seed);
    }

    /// Uses a cache for compiled components.
    pub fn cache(&mut self, cache: crate::Cache) {
        self.builder = self.builder.clone().cache(cache);
    }
}

/// Reads the keys that a file and a `[[scenario]]` have in common.
fn circumstances(
    section: &mut Section<'_, '_>,
    mut builder: HarnessBuilder,
) -> Result<HarnessBuilder, Error> {
    if let Some(value) = section.get("settings") {
        for (key, value) in value.section()?.entries() {
            builder = builder.setting(key, &value.setting()?);
        }
    }
    if let Some(value) = section.get("time-zone") {
        builder =
            builder.time_zone(value.text()?).map_err(|error| value.error(format!("is wrong: {error}")))?;
    }
    if let Some(value) = section.get("start") {
        builder =
            builder.start(&value.datetime()?).map_err(|error| value.error(format!("is wrong: {error}")))?;
    }
    if let Some(value) = section.get("virtual-server") {
        builder = builder.virtual_server(value.text()?);
    }
    if let Some(value) = section.get("pools") {
        let pools = texts(&value)?;
        if pools.is_empty() {
            return Err(value.error("is empty; name at least the virtual server's default pool"));
        }
        builder = builder.pools(&pools.iter().map(String::as_str).collect::<Vec<_>>());
    }
    if let Some(value) = section.get("on-failure") {
        builder = builder.on_failure(value.choice(&[("pass", OnFailure::Pass), ("deny", OnFailure::Deny)])?);
    }
    if let Some(value) = section.get("unverifiable") {
        let choices = [("pass", Unverifiable::Pass), ("refuse", Unverifiable::Refuse)];
        builder = builder.unverifiable(value.choice(&choices)?);
    }
    if let Some(value) = section.get("verify") {
        builder = builder.verify(value.choice(&[("on", Verify::On), ("off", Verify::Off)])?);
    }
    if let Some(value) = section.get("outcome") {
        builder = builder.outcome(login::outcome(&value)?);
    }
    if let Some(value) = section.get("store") {
        builder = builder.empty_store();
        for (key, value) in value.section()?.entries() {
            builder = builder.stored(key, &stored(&value)?);
        }
    }
    if let Some(value) = section.get("memory") {
        for (user, value) in value.section()?.entries() {
            if let Some(bytes) = entry(numbers(&value)?) {
                builder = builder.stored(&memory_key(user), &bytes);
            }
        }
    }
    if let Some(value) = section.get("lookups") {
        for (table, value) in value.section()?.entries() {
            let section = value.section()?;
            let lines = section.entries();
            let lines: Vec<_> =
                lines.iter().map(|(key, value)| Ok((*key, value.text()?))).collect::<Result<_, Error>>()?;
            builder = builder.lookup(table, &lines);
        }
    }
    if let Some(value) = section.get("store-quota") {
        builder = builder.store_quota(value.size()?);
    }
    if let Some(value) = section.get("limits") {
        builder = builder.limits(Limits::read(&value.section()?)?);
    }
    if let Some(value) = section.get("seed") {
        builder = builder.seed(value.count(0, i64::MAX.unsigned_abs())?);
    }
    Ok(builder)
}

/// Reads what the policy must do: reject its settings, or decide as the steps expect.
fn refusal_or_steps(
    section: &mut Section<'_, '_>,
    pools: &[String],
) -> Result<(Option<String>, Vec<Step>), Error> {
    let refuses = section.get("refuses").map(|value| value.text().map(str::to_owned)).transpose()?;
    let steps = match section.get("step") {
        Some(value) if refuses.is_some() => {
            return Err(value.error(
                "cannot be combined with `refuses`: a policy that rejects its settings decides no logins",
            ));
        }
        Some(value) => {
            value.list()?.iter().map(|value| step::step(value, pools)).collect::<Result<_, _>>()?
        }
        None => Vec::new(),
    };
    Ok((refuses, steps))
}

fn stored(given: &Value<'_, '_>) -> Result<Vec<u8>, Error> {
    let bytes = value(given.text()?);
    bytes.ok_or_else(|| given.error("must have pairs of hexadecimal digits after \"hex:\""))
}

/// The key of what is remembered about a user.
fn memory_key(user: &str) -> String {
    MemoryKey::of_user_key(user).stored().to_owned()
}

/// Up to four numbers that are remembered about a user; the others are 0.
fn numbers(value: &Value<'_, '_>) -> Result<[u32; NUMBERS], Error> {
    let given = value.list()?;
    let mut numbers = [0; NUMBERS];
    if given.is_empty() || given.len() > NUMBERS {
        return Err(value.expected("a list of one to four numbers, such as [1773144000, 0, 3]"));
    }
    for (number, value) in numbers.iter_mut().zip(&given) {
        *number = value.count_u32(0, u32::MAX)?;
    }
    Ok(numbers)
}

fn texts(value: &Value<'_, '_>) -> Result<Vec<String>, Error> {
    value.list()?.iter().map(|item| item.text().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::step::{StepAction, When};

    fn read(text: &str) -> Result<Vec<Scenario>, String> {
        Scenario::parse(text, "directory/polls.toml", "interval").map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_has_one_scenario_with_its_name_or_several_with_names_or_numbers() {
        let names = |text| read(text).unwrap().into_iter().map(|one| one.name).collect::<Vec<_>>();
        assert_eq!(names("[[step]]\nlogin = \"alice\"\n"), ["polls"]);
        let several =
            "name = \"p\"\n[[scenario]]\nname = \"a\"\nrefuses = \"x\"\n[[scenario]]\nrefuses = \"y\"\n";
        assert_eq!(names(several), ["p: a", "p: 2"]);
    }

    #[test]
    fn steps_have_their_lines_also_in_groups() {
        let text = "[[step]]\nrepeat = 2\nsteps = [\n  { login = \"a\" },\n  { after = \"1m\", forget = [\"a\"] },\n]\n";
        let scenarios = read(text).unwrap();
        let StepAction::Group(group) = &scenarios[0].steps[0].action else { panic!("no group") };
        assert_eq!(group.iter().map(|step| step.line).collect::<Vec<_>>(), [4, 5]);
        assert_eq!(group[1].when, When::After(std::time::Duration::from_secs(60)));
    }

    #[test]
    fn a_scenario_that_tests_nothing_is_an_error() {
        assert!(read("[[scenario]]\nname = \"a\"\n").unwrap_err().contains("tests nothing"));
        for (text, expected) in [
            ("[[scenarios]]\nname = \"a\"\n", "unknown key `scenarios`; did you mean `scenario`?"),
            ("[[steps]]\nlogin = \"a\"\n", "unknown key `steps`; did you mean `step`?"),
            (
                "[[scenario]]\n[[scenario.steps]]\nlogin = \"a\"\n",
                "unknown key `scenario.steps`; did you mean `step`?",
            ),
            ("[[scenario]]\nrefuse = \"x\"\n", "did you mean `refuses`?"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let both = "[[step]]\nlogin = \"a\"\n[[scenario]]\nrefuses = \"x\"\n";
        assert!(read(both).unwrap_err().contains("at the top and in [[scenario]]"));
    }

    #[test]
    fn facts_and_outcomes_that_cannot_be_are_errors() {
        for (text, expected) in [
            ("pools = { archive = {} }", "is not another one of the scenario's `pools`"),
            ("pools = { mail = { nodes = 2 } }", "the login's own pool is its `backend`"),
            ("outcome = { ending = \"authenticated\", response-code = \"AUTH\" }", "that is `rejected`"),
        ] {
            let error = read(&format!("[[step]]\nlogin = \"a\"\n{text}\n")).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
