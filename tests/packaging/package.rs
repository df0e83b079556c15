//! The Debian package and its files: completions, manual pages, the example configuration, units.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::deb::{Package, ROOT};
use crate::support::certificates::{Age, Authority};
use crate::support::running::BINARY;
use crate::support::tool::Tool;

const BASH: Tool = Tool { program: "bash", package: "bash" };
const ZSH: Tool = Tool { program: "zsh", package: "zsh" };
const FISH: Tool = Tool { program: "fish", package: "fish" };
const MANDOC: Tool = Tool { program: "mandoc", package: "mandoc" };
const LINTIAN: Tool = Tool { program: "lintian", package: "lintian" };
const ANALYZE: Tool = Tool { program: "systemd-analyze", package: "systemd" };

fn reprieve(arguments: &[&str]) -> Output {
    Command::new(BINARY).args(arguments).output().expect("running reprieve")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[track_caller]
fn good(output: Output) -> String {
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn each_shell_parses_its_completions() {
    for (shell, tool) in [("bash", BASH), ("zsh", ZSH), ("fish", FISH)] {
        let script = good(reprieve(&["completions", shell]));
        let mut child = tool
            .command()
            .arg("-n")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a shell");
        child.stdin.take().expect("its input").write_all(script.as_bytes()).expect("a script");
        let said = said(&child.wait_with_output().expect("its end"));
        assert_eq!(said, "", "{shell}");
    }
}

#[test]
fn bash_completes_subcommands_options_and_their_values() {
    let script = good(reprieve(&["completions", "bash"]));
    for (words, expected) in [
        ("reprieve ch", "check"),
        ("reprieve run --certi", "--certificate"),
        ("reprieve ctl node mail n:110 dr", "drain"),
        ("reprieve policy insp", "inspect"),
    ] {
        let count = words.split(' ').count();
        let ask = format!(
            "COMP_WORDS=({words}); COMP_CWORD={}; _reprieve reprieve \"${{COMP_WORDS[-1]}}\" x; echo \"${{COMPREPLY[@]}}\"",
            count - 1
        );
        let output = BASH.command().arg("-c").arg(format!("{script}\n{ask}")).output().expect("bash");
        assert_eq!(good(output).trim(), expected, "{words}");
    }
}

#[test]
fn every_subcommand_has_a_manual_page_that_mandoc_accepts() {
    let folder = tempfile::tempdir().unwrap();
    good(reprieve(&["man", folder.path().to_str().unwrap()]));
    let sections = ["man1", "man5"].map(|section| std::fs::read_dir(folder.path().join(section)).unwrap());
    let mut pages: Vec<_> = sections.into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    pages.sort();
    let name = |page: &std::path::PathBuf| page.strip_prefix(folder.path()).unwrap().display().to_string();
    let names: Vec<_> = pages.iter().map(name).collect();
    for name in [
        "man1/reprieve.1",
        "man1/reprieve-run.1",
        "man1/reprieve-policy-test.1",
        "man1/reprieve-ctl-node.1",
        "man5/reprieve.toml.5",
    ]
    .map(str::to_owned)
    {
        assert!(names.contains(&name), "{names:?} lacks {name}");
    }
    // The pages have no date, so that builds are reproducible.
    let output = MANDOC.command().args(["-T", "lint", "-W", "error"]).args(&pages).output().expect("mandoc");
    let said = said(&output);
    let faults: Vec<_> = said.lines().filter(|line| !line.contains("missing date")).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let shown = |page: &str| {
        let output = MANDOC.command().args(["-T", "ascii"]).arg(folder.path().join(page)).output();
        // A bold character is printed over itself.
        let text = good(output.expect("mandoc"));
        let mut plain = String::new();
        text.chars().for_each(|letter| {
            if letter == '\u{8}' {
                let _ = plain.pop();
            } else {
                plain.push(letter);
            }
        });
        plain
    };
    let run = shown("man1/reprieve-run.1");
    assert!(run.contains("--config <FILE>") && run.contains("reprieve.toml(5)"), "{run}");
    let keys = shown("man5/reprieve.toml.5");
    for part in ["[pool.NAME.queue]", "drain-timeout  [default: \"30s\"]", "nodes  [required]"] {
        assert!(keys.contains(part), "{part:?} is not in:\n{keys}");
    }
}

/// The example configuration with every key set; creates the files it names in this folder.
fn example_in(folder: &Path, authority: &Authority) -> String {
    let files = authority.server("example", &["mail.example"], Age::Valid);
    let example = std::fs::read_to_string(Path::new(ROOT).join("host/packaging/reprieve.toml")).unwrap();
    let set = |line: &str| match line.strip_prefix('#') {
        Some(key) if !key.starts_with(' ') => key.to_owned(),
        _ => line.to_owned(),
    };
    let text: Vec<_> = example.lines().map(set).collect();
    let inspected = good(reprieve(&["policy", "inspect", "interval", "--format", "json"]));
    let inspected: serde_json::Value = serde_json::from_str(&inspected).expect("JSON");
    let digest = inspected["sha256"].as_str().expect("a digest");
    let mut text = text.join("\n");
    for name in text.split('"').filter_map(|word| word.strip_prefix("/etc/reprieve/")) {
        let to = folder.join(name);
        match Path::new(name).extension().and_then(|end| end.to_str()) {
            Some("key") => drop(std::fs::copy(&files.key, to).unwrap()),
            Some("pem") if name.contains("privkey") => drop(std::fs::copy(&files.key, to).unwrap()),
            Some("pem") if name.contains("ca") || name.contains("users") => {
                std::fs::copy(authority.file(), to).map(|_| ()).unwrap();
            }
            Some("pem") => drop(std::fs::copy(&files.chain, to).unwrap()),
            _ => crate::support::write_secret(&to, &format!("a-secret-of-more-than-16-characters:{name}\n")),
        }
    }
    let pinned = text.lines().find(|line| line.starts_with("sha256 = ")).expect("a pin").to_owned();
    text = text.replace(&pinned, &format!("sha256 = \"{digest}\""));
    // Users that exist here.
    text = text.replace("\nuser = \"reprieve\"", "\nuser = \"nobody\"");
    text = text.replace("\ngroup = \"reprieve\"", "\ngroup = \"root\"");
    for place in
        ["/etc/reprieve", "/var/lib/reprieve", "/var/cache/reprieve", "/var/log/reprieve", "/run/reprieve"]
    {
        text = text.replace(&format!("{place}/"), &format!("{}/", folder.display()));
        text = text.replace(&format!("{place}\""), &format!("{}/cache\"", folder.display()));
    }
    // The folder belongs to that user, since checks and starts by root continue as that user.
    if nix::unistd::geteuid().is_root() {
        let nobody = nix::unistd::User::from_name("nobody").unwrap().expect("nobody").uid.as_raw();
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        for path in files.chain([folder.to_owned()]) {
            std::os::unix::fs::chown(path, Some(nobody), None).unwrap();
        }
    }
    text
}

#[test]
fn the_example_configuration_is_valid_with_every_key_set() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let text = example_in(folder.path(), &authority);
    let file = folder.path().join("reprieve.toml");
    std::fs::write(&file, &text).unwrap();
    let output = reprieve(&["check", "--config", file.to_str().unwrap()]);
    assert!(output.status.success(), "{}\n{text}", said(&output));
}

#[test]
fn the_package_has_all_files_and_starts_nothing_by_itself() {
    let package = Package::get();
    for path in [
        "/usr/bin/reprieve",
        "/usr/share/man/man1/reprieve.1.gz",
        "/usr/share/man/man1/reprieve-run.1.gz",
        "/usr/share/man/man5/reprieve.toml.5.gz",
        "/usr/share/bash-completion/completions/reprieve",
        "/usr/share/zsh/vendor-completions/_reprieve",
        "/usr/share/fish/vendor_completions.d/reprieve.fish",
        "/usr/lib/systemd/system/reprieve.service",
        "/usr/lib/systemd/system/reprieve.socket",
        "/usr/lib/sysusers.d/reprieve.conf",
        "/etc/reprieve/reprieve.toml",
        "/usr/share/doc/reprieve/copyright",
        "/usr/share/doc/reprieve/changelog.Debian.gz",
        "/usr/share/doc/reprieve/third-party-licences.gz",
        "/usr/share/doc/reprieve/examples/sockets-only.conf",
    ] {
        assert!(package.path(path).is_file(), "{path} is missing");
    }
    let control = |file: &str| std::fs::read_to_string(package.control.join(file)).unwrap();
    assert_eq!(control("conffiles").trim(), "/etc/reprieve/reprieve.toml");
    let postinst = control("postinst");
    assert!(postinst.contains("systemd-sysusers") && postinst.contains("daemon-reload"), "{postinst}");
    for line in postinst.lines() {
        // It may be re-enabled or restarted, but never started.
        assert!(
            !line.contains("deb-systemd-invoke start") && !line.contains("_dh_action=start"),
            "{postinst}"
        );
    }
    assert!(postinst.contains("was-enabled"), "{postinst}");
    let version = format!("Version: {}-1", env!("CARGO_PKG_VERSION"));
    assert!(control("control").lines().any(|line| line == version), "{}", control("control"));
    let changelog = std::fs::read_to_string(Path::new(ROOT).join("host/packaging/debian/changelog")).unwrap();
    let newest = format!("reprieve ({}-1) ", env!("CARGO_PKG_VERSION"));
    assert!(changelog.starts_with(&newest), "host/packaging/debian/changelog does not begin with {newest}");
    // The unpacked binary works.
    let output = Command::new(package.path("/usr/bin/reprieve")).arg("--version").output().unwrap();
    assert_eq!(good(output).trim(), format!("reprieve {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn lintian_accepts_the_package() {
    let mut lintian = LINTIAN.command();
    // The tests may run as root.
    lintian.arg("--allow-root").arg("--tag-display-limit=0").arg(&Package::get().file);
    let output = lintian.output().expect("lintian");
    assert!(output.status.success() && said(&output).is_empty(), "{}", said(&output));
}

#[test]
fn systemd_accepts_the_units() {
    let package = Package::get();
    let units = package.units();
    let mut verify = ANALYZE.command();
    verify.arg("verify").args(["reprieve.service", "reprieve.socket"].map(|unit| units.path().join(unit)));
    let output = verify.env("MANPATH", package.path("/usr/share/man")).output().expect("systemd-analyze");
    assert!(output.status.success() && said(&output).is_empty(), "{}", said(&output));
}

/// The exposure level of `systemd-analyze security`, from 0 to 10.
fn exposure(units: &Path) -> f64 {
    let path = format!("{}:", units.display());
    let mut analyze = ANALYZE.command();
    analyze.args(["security", "--offline=true", "--no-pager", "reprieve.service"]);
    let said = good(analyze.env("SYSTEMD_UNIT_PATH", path).output().expect("systemd-analyze"));
    let line = said.lines().last().unwrap_or_default();
    let word = line.split("reprieve.service: ").nth(1).and_then(|rest| rest.split(' ').next());
    word.and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{said}"))
}

#[test]
fn the_units_exposure_is_low_and_lower_with_socket_activation() {
    let package = Package::get();
    let units = package.units();
    let alone = exposure(units.path());
    assert!(alone <= 2.0, "{alone}");
    let more = units.path().join("reprieve.service.d");
    std::fs::create_dir(&more).unwrap();
    let conf = package.text("/usr/share/doc/reprieve/examples/sockets-only.conf");
    std::fs::write(more.join("sockets-only.conf"), conf).unwrap();
    let with_sockets = exposure(units.path());
    assert!(with_sockets < alone, "{with_sockets} and {alone}");
}
