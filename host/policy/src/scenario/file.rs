//! Reads scenario files. Errors name file, line, key and what would be right.

mod expectation;
mod login;
mod step;

use super::expectation::value;
use super::step::Step;
use reprieve_settings::{Error, Section, Source, Table as _, Value};

use crate::harness::{Builder, Trial};
use crate::{Limits, OnFailure};
use crate::{Unverifiable, Verify};

/// A scenario: circumstances, and steps with what is expected of them.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name, for reports.
    pub name: String,
    /// The file that it stands in.
    pub file: String,
    pub(super) builder: Builder,
    pub(super) refuses: Option<String>,
    pub(super) steps: Vec<Step>,
}

impl Scenario {
    /// Reads the scenarios of a file. `component`: the policy that they try. `file`: the name
    /// for errors.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line, its key and a remedy.
    pub fn parse(text: &str, file: &str, component: &str) -> Result<Vec<Self>, Error> {
        let source = Source { file, text };
        let document = source.parse()?;
        let mut top = Section::new(source, "", document.span(), document.get_ref());
        let base = circumstances(&mut top, Trial::of(component))?;
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
                let (refuses, steps) = course(&mut section)?;
                // First what is misspelt: it may be the steps.
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
        let (refuses, steps) = course(&mut top)?;
        match (scenarios.is_empty(), steps.is_empty() && refuses.is_none()) {
            (true, true) => {
                let nothing = top.error(
                    "nothing is tested: add steps, such as [[step]] with login = \"alice\" and expect = \"pass\""
                        .to_owned(),
                );
                // What is misspelt may be the steps.
                top.finish()?;
                return Err(nothing);
            }
            (false, false) => {
                return Err(top.error(
                    "steps stand both at the top and in [[scenario]]; give each scenario its own".to_owned(),
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

    /// Replaces a setting of the policy.
    pub fn set(&mut self, key: &str, value: &str) {
        self.builder = self.builder.clone().setting(key, value);
    }

    /// Replaces the seed of the policy's randomness.
    pub fn seed(&mut self, seed: u64) {
        self.builder = self.builder.clone().seed(seed);
    }

    /// Where compiled code is kept.
    pub fn cache(&mut self, cache: crate::Cache) {
        self.builder = self.builder.clone().cache(cache);
    }
}

/// What a trial begins with.
fn circumstances(section: &mut Section<'_, '_>, mut builder: Builder) -> Result<Builder, Error> {
    if let Some(value) = section.get("settings") {
        for (key, value) in value.section()?.entries() {
            builder = builder.setting(key, &value.setting()?);
        }
    }
    if let Some(value) = section.get("time-zone") {
        builder = builder.time_zone(value.text()?).map_err(|error| value.error(format!("has {error}")))?;
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
            return Err(value.error("is empty; the first pool is the virtual server's own"));
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
        builder = builder.outcome(login::happens(&value)?);
    }
    if let Some(value) = section.get("store") {
        builder = builder.nothing_stored();
        for (key, value) in value.section()?.entries() {
            builder = builder.stored(key, &stored(&value)?);
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

fn course(section: &mut Section<'_, '_>) -> Result<(Option<String>, Vec<Step>), Error> {
    let refuses = section.get("refuses").map(|value| value.text().map(str::to_owned)).transpose()?;
    let steps = match section.get("step") {
        Some(value) if refuses.is_some() => {
            return Err(
                value.error("cannot follow `refuses`: a policy that refuses its settings judges nobody")
            );
        }
        Some(value) => value.list()?.iter().map(step::step).collect::<Result<_, _>>()?,
        None => Vec::new(),
    };
    Ok((refuses, steps))
}

fn stored(given: &Value<'_, '_>) -> Result<Vec<u8>, Error> {
    let octets = value(given.text()?);
    octets.ok_or_else(|| given.error("is not made of pairs of hexadecimal digits after \"hex:\""))
}

fn texts(value: &Value<'_, '_>) -> Result<Vec<String>, Error> {
    value.list()?.iter().map(|item| item.text().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::step::{StepAction, When};

    fn read(text: &str) -> Result<Vec<Scenario>, String> {
        Scenario::parse(text, "folder/polls.toml", "interval").map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_is_one_scenario_named_after_it_or_several_with_names_or_numbers() {
        let names = |text| read(text).unwrap().into_iter().map(|one| one.name).collect::<Vec<_>>();
        assert_eq!(names("[[step]]\nlogin = \"alice\"\n"), ["polls"]);
        let several =
            "name = \"p\"\n[[scenario]]\nname = \"a\"\nrefuses = \"x\"\n[[scenario]]\nrefuses = \"y\"\n";
        assert_eq!(names(several), ["p: a", "p: 2"]);
    }

    #[test]
    fn steps_know_their_lines_in_groups_too() {
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
        assert!(read(both).unwrap_err().contains("both at the top and in [[scenario]]"));
    }
}
