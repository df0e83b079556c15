//! Policy templates in every language: `policy new`, the commands of the project's README, and
//! `policy test`. `policies/build` installs the toolchains.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::running::{BINARY, Running};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the workspace")
}

/// PATH with the toolchains in front of the system's programs.
fn path() -> String {
    let tools = root().join("target/toolchains/bin");
    assert!(tools.exists(), "the toolchains are missing; install them with: policies/build");
    format!("{}:{}", tools.display(), std::env::var("PATH").unwrap_or_default())
}

/// The commands in a section of a page.
fn commands(readme: &str, section: &str) -> String {
    let after = readme.split_once(&format!("## {section}\n")).expect("the section").1;
    let block = after.split_once("```sh\n").expect("a block of commands").1;
    block.split_once("```").expect("the block's end").0.to_owned()
}

/// Runs commands in a project; returns success and output.
fn run(folder: &Path, commands: &str) -> (bool, String) {
    let output = Command::new("bash")
        .args(["-euc", commands])
        .current_dir(folder)
        .env("PATH", format!("{}:{}", Path::new(BINARY).parent().expect("its folder").display(), path()))
        .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("newcomer"))
        .output()
        .expect("running bash");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said.into_owned())
}

fn project(language: &str) -> (tempfile::TempDir, PathBuf, String) {
    let parent = tempfile::tempdir().expect("a folder");
    let folder = parent.path().join(format!("my-{language}"));
    let output = Command::new(BINARY)
        .args(["policy", "new", "--lang", language])
        .arg(&folder)
        .output()
        .expect("running reprieve");
    assert!(output.status.success(), "{language}: {}", String::from_utf8_lossy(&output.stderr));
    let readme = std::fs::read_to_string(folder.join("README.md")).expect("a README");
    (parent, folder, readme)
}

fn try_language(language: &str) {
    let (_parent, folder, readme) = project(language);
    let (built, said) = run(&folder, &commands(&readme, "Build"));
    assert!(built, "{language}: {said}");
    let component = folder.join(format!("my-{language}.wasm"));
    if component.exists() {
        let expected = match language {
            "javascript" | "typescript" => "JavaScript or TypeScript",
            "python" => "Python",
            "c" => "C",
            "cpp" => "C++",
            "go" => "Go",
            _ => "Zig",
        };
        let (_, said) = run(&folder, &format!("reprieve policy inspect my-{language}.wasm"));
        assert!(said.contains(&format!("\nlanguage   {expected}\n")), "{language}: {said}");
    }
    let test = commands(&readme, "Test").replace("target/", "$CARGO_TARGET_DIR/");
    let (good, said) = run(&folder, &test);
    assert!(good && said.contains("8 passed, 0 failed"), "{language}: {said}");
    // A changed rule fails: the scenario expects a minute.
    let (good, said) = run(&folder, &format!("{} --set pause=30", test.trim()));
    assert!(!good && said.contains("expected: deny"), "{language}: {said}");
}

#[test]
fn rust() {
    try_language("rust");
}

#[test]
fn javascript_and_typescript() {
    try_language("javascript");
    try_language("typescript");
}

#[test]
fn python() {
    try_language("python");
}

#[test]
fn c_cpp_and_zig() {
    try_language("c");
    try_language("cpp");
    try_language("zig");
}

#[test]
fn go() {
    try_language("go");
}

/// Allocates ten kilobytes, and uses a string of the host, the time and the output.
const WORK: &str = r#"
var kept [1000][]byte
var allocated int

func work(login policy.Login) {
	for range 10 {
		kept[allocated%len(kept)] = make([]byte, 1000)
		allocated++
	}
	if claim.User() == "" || uint32(time.Now().Unix()) != login.Time.Unix {
		panic("the user or the time is wrong")
	}
	if allocated == 10 {
		fmt.Println("the first", "call")
	}
}
"#;

/// The garbage collector starts in the middle of some calls, also while the host asks for memory.
#[test]
fn a_go_policy_has_the_time_the_output_and_the_garbage_collector() {
    for (flags, calls) in [("", "100000"), ("-trimpath", "3000")] {
        let (_parent, folder, readme) = project("go");
        let edit = |file: &str, from: &str, to: &str| {
            let path = folder.join(file);
            let text = std::fs::read_to_string(&path).expect("the project's file");
            assert!(text.contains(from), "{file} has no {from:?}");
            std::fs::write(&path, text.replacen(from, to, 1)).expect("writing it");
        };
        let policy = "export_reprieve_policy_handler/policy.go";
        edit(policy, "\"strconv\"\n", "\"strconv\"\n\t\"time\"\n");
        edit(policy, "\tpolicy \"", "\tclaim \"wit_component/reprieve_policy_claim\"\n\tpolicy \"");
        edit(policy, "(verdict policy.Verdict) {\n", "(verdict policy.Verdict) {\n\twork(login)\n");
        edit(policy, "var pause uint32 = 300\n", &format!("var pause uint32 = 300\n{WORK}"));
        edit("build", "go build ", &format!("go build {flags} "));
        let (built, said) = run(&folder, &commands(&readme, "Build"));
        assert!(built, "{said}");
        let (good, said) = run(&folder, "reprieve policy decide my-go.wasm --user alice");
        assert!(good && said.contains("the first call"), "{flags}: {said}");
        let bench = format!("reprieve policy bench my-go.wasm --calls {calls} --fresh 20");
        let (good, said) = run(&folder, &bench);
        assert!(good && said.contains(" 0 calls failed"), "{flags}: {said}");
        // A new instance after `limits.calls`. Without the collector, it would be after 32 MiB.
        let replaced = said.split_once(" instances replaced").expect("the replaced instances").0;
        let replaced: u32 = replaced.split(' ').next_back().expect("a word").parse().expect("a number");
        assert!(replaced <= 2, "{flags}: {said}");
    }
}

#[test]
fn git_tracks_every_source_file_of_a_project() {
    for language in ["rust", "javascript", "typescript", "python", "c", "cpp", "go", "zig"] {
        let (_parent, folder, _) = project(language);
        let (good, said) =
            run(&folder, "git init --quiet && git status --porcelain --ignored --untracked-files=all");
        assert!(good && said.contains("README.md") && !said.contains("!!"), "{language}: {said}");
    }
}

/// The policy is not the one in the README's configuration and has other settings.
#[test]
fn the_change_of_policy_in_operations_works_with_the_readmes_configuration() {
    let (_parent, folder, _) = project("c");
    let (built, said) = run(&folder, "./build && mv my-c.wasm night-shift.wasm");
    assert!(built, "{said}");
    let page = |name: &str| std::fs::read_to_string(root().join(name)).expect("a page");
    let readme = page("README.md");
    let configuration = readme.split_once("```toml\n# reprieve.toml\n").expect("a configuration").1;
    let configuration = configuration.split_once("```").expect("its end").0;
    // A free port, and a socket of this test's own.
    let configuration = configuration.replace("127.0.0.1:1110", "127.0.0.1:0");
    let text = format!("admin.socket = {:?}\n{configuration}", folder.join("admin.sock"));
    let mut reprieve = Running::with_configuration(&folder, &text);
    reprieve.address();
    let commands = commands(&page("docs/operations.md"), "Change the policy");
    let (done, said) = run(&folder, &format!("export REPRIEVE_SOCKET=$PWD/admin.sock\n{commands}"));
    assert!(done, "{said}");
}

#[test]
fn a_missing_tool_is_named_with_the_command_that_installs_it() {
    for (language, expected) in [
        ("c", "build: wit-bindgen is missing; install it with: cargo install"),
        ("python", "build: componentize-py is missing; install it with: python3 -m venv"),
    ] {
        let (_parent, folder, _) = project(language);
        let output = Command::new("sh")
            .arg("build")
            .current_dir(&folder)
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", &folder)
            .output()
            .expect("running sh");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1));
        assert!(said.starts_with(expected) && said.lines().count() == 1, "{said}");
    }
}

#[test]
fn a_folder_in_use_and_an_invalid_name_are_refused() {
    let parent = tempfile::tempdir().expect("a folder");
    for (folder, expected) in
        [(parent.path().join("Night"), "lower-case"), (root().join("tests"), "is not empty")]
    {
        let output = Command::new(BINARY)
            .args(["policy", "new", "--lang", "rust"])
            .arg(&folder)
            .output()
            .expect("running reprieve");
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(expected), "{said}");
    }
}
