//! Finds the paths that Rust source refers to, as far as layers need it: without macros, and without
//! knowing what a name stands for.

use std::collections::{BTreeMap, BTreeSet};

/// The paths in a source file outside of `#[cfg(test)]`, each with two segments: `std::fs`,
/// `crate::pool`. Relative paths are resolved from `module`, the file's place in its crate.
pub fn imports(source: &str, module: &[&str]) -> Vec<String> {
    let (tokens, _) = without_tests(tokens(source));
    let mut found = Vec::new();
    each_path(&tokens, |path, _| {
        let path = absolute(path, module);
        found.extend((path != ["crate"]).then(|| path[..path.len().min(2)].join("::")));
    });
    found.sort();
    found.dedup();
    found
}

/// The paths in a source file outside of `#[cfg(test)]`, in full. A path that begins with an imported
/// name continues what that name stands for.
pub fn full_paths(source: &str, module: &[&str]) -> BTreeSet<Vec<String>> {
    let (tokens, _) = without_tests(tokens(source));
    let (mut imported, mut found) = (BTreeMap::new(), Vec::new());
    each_path(&tokens, |path, import| {
        let mut path = absolute(path, module);
        path.pop_if(|last| last == "self");
        if let Some(Import { alias }) = import {
            imported.extend(alias.or(path.last()).cloned().map(|name| (name, path.clone())));
        }
        found.push(path);
    });
    let resolved = |path: Vec<String>| match imported.get(&path[0]) {
        Some(start) if path.len() > 1 => [start, &path[1..]].concat(),
        _ => path,
    };
    found.into_iter().filter(|path| !path.is_empty()).map(resolved).collect()
}

/// The types that a source file declares or re-exports for others.
pub fn public_types(source: &str) -> BTreeSet<String> {
    const KINDS: [&str; 5] = ["enum", "struct", "trait", "type", "union"];
    let (tokens, _) = without_tests(tokens(source));
    let mut found = BTreeSet::new();
    for (at, _) in tokens.iter().enumerate().filter(|(_, token)| *token == "pub") {
        let is_limited = tokens.get(at + 1).is_some_and(|next| next == "(");
        let end = tokens[at..].iter().position(|token| token == ")").filter(|_| is_limited);
        match &tokens[at + 1 + end.unwrap_or(0)..] {
            [kind, name, ..] if KINDS.contains(&&**kind) => drop(found.insert(name.clone())),
            [kind, ..] if kind == "use" => {
                let start = at + 2 + end.unwrap_or(0);
                branches(&tokens, start, &mut Vec::new(), &mut |path, alias| {
                    // Another crate's type is not one more.
                    let is_own = !path[0].starts_with("reprieve");
                    found.extend(alias.or(path.last()).filter(|_| is_own).cloned());
                });
            }
            _ => {}
        }
    }
    found.retain(|name| name.starts_with(char::is_uppercase) && name.contains(char::is_lowercase));
    found
}

/// An import, and the name that follows `as`.
struct Import<'a> {
    alias: Option<&'a String>,
}

/// Calls `each` for every path, with the import if it is one.
fn each_path(tokens: &[String], mut each: impl FnMut(&[String], Option<Import<'_>>)) {
    for start in 0..tokens.len() {
        let before = start.checked_sub(1).map(|before| &*tokens[before]);
        let begins_path = before != Some("::") && before != Some(".") && is_name(&tokens[start]);
        let is_import = before == Some("use");
        if begins_path && (is_import || tokens.get(start + 1).is_some_and(|next| next == "::")) {
            branches(tokens, start, &mut Vec::new(), &mut |path, alias| {
                each(path, is_import.then_some(Import { alias }));
            });
        }
    }
}

/// The modules in files of their own that are declared under `#[cfg(test)]`.
pub fn test_modules(source: &str) -> Vec<String> {
    without_tests(tokens(source)).1
}

/// Calls `each` for every path that begins with `prefix` and continues at `at`, with the name that
/// follows `as`. A group in braces continues a path in several ways.
fn branches(
    tokens: &[String],
    mut at: usize,
    prefix: &mut Vec<String>,
    each: &mut dyn FnMut(&[String], Option<&String>),
) {
    let length = prefix.len();
    loop {
        match tokens.get(at).map(String::as_str) {
            Some("{") => {
                let mut depth = 0;
                for inner in at..tokens.len() {
                    match &*tokens[inner] {
                        "{" => depth += 1,
                        "}" => depth -= 1,
                        _ => {}
                    }
                    let begins = inner > at && ["{", ","].contains(&&*tokens[inner - 1]);
                    if depth == 1 && begins && is_name(&tokens[inner]) {
                        branches(tokens, inner, prefix, each);
                    }
                    if depth == 0 {
                        break;
                    }
                }
                break;
            }
            Some(name) if is_name(name) => prefix.push(name.to_owned()),
            _ => {
                each(prefix, None);
                break;
            }
        }
        if tokens.get(at + 1).is_none_or(|next| next != "::") {
            let is_renamed = tokens.get(at + 1).is_some_and(|next| next == "as");
            each(prefix, tokens.get(at + 2).filter(|_| is_renamed));
            break;
        }
        at += 2;
    }
    prefix.truncate(length);
}

/// A path with `super` and `self` resolved.
fn absolute(path: &[String], module: &[&str]) -> Vec<String> {
    let is_relative = path.first().is_some_and(|first| ["crate", "self", "super"].contains(&&**first));
    if !is_relative {
        return path.to_vec();
    }
    let mut place: Vec<&str> = module.to_vec();
    for segment in path {
        match &**segment {
            "crate" => place.clear(),
            "self" => {}
            "super" => drop(place.pop()),
            name => place.push(name),
        }
    }
    ["crate"].into_iter().chain(place).map(str::to_owned).collect()
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// The tokens without the items under `#[cfg(test)]`, and the names of those that are modules in
/// files of their own.
fn without_tests(tokens: Vec<String>) -> (Vec<String>, Vec<String>) {
    const ATTRIBUTE: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut kept, mut modules) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        if !tokens[at..].iter().take(ATTRIBUTE.len()).eq(ATTRIBUTE.iter()) {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        at += ATTRIBUTE.len();
        let item = &tokens[at..];
        let mut depth = 0;
        let end = item.iter().position(|token| {
            match &**token {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth -= 1,
                _ => {}
            }
            depth == 0 && [";", "}"].contains(&&**token)
        });
        let item = &item[..=end.unwrap_or(item.len() - 1)];
        if let [.., keyword, name, end] = item
            && keyword == "mod"
            && end == ";"
        {
            modules.push(name.clone());
        }
        at += item.len();
    }
    (kept, modules)
}

/// Names, `::`, and single characters; without comments, strings and character literals.
fn tokens(source: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = string_literal(rest).or_else(|| character_literal(rest)) {
            length
        } else if is_name(rest) {
            rest.find(|it: char| !it.is_alphanumeric() && it != '_').unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        let (token, after) = rest.split_at(length);
        if is_name(token) && !token.contains('"')
            || token.len() == 1 && !first.is_whitespace()
            || token == "::"
        {
            tokens.push(token.to_owned());
        }
        rest = after;
    }
    tokens
}

/// The length of a string literal at the start, raw or not.
fn string_literal(source: &str) -> Option<usize> {
    let prefix = source.find(|it| !matches!(it, 'b' | 'c' | 'r'))?;
    let hashes = source[prefix..].find(|it| it != '#')?;
    let begin = prefix + hashes;
    let body = source[begin..].strip_prefix('"')?;
    if source[..prefix].contains('r') {
        let end = format!("\"{}", "#".repeat(hashes));
        return Some(begin + 1 + body.find(&end)? + end.len());
    }
    if hashes > 0 {
        return None;
    }
    let mut is_escaped = false;
    let end = body.find(|it| {
        let ends = it == '"' && !is_escaped;
        is_escaped = it == '\\' && !is_escaped;
        ends
    })?;
    Some(begin + 1 + end + 1)
}

/// The length of a character literal at the start, as opposed to a lifetime.
fn character_literal(source: &str) -> Option<usize> {
    let body = source.strip_prefix('\'')?;
    let mut characters = body.char_indices();
    match characters.next()?.1 {
        '\\' => body[2..].find('\'').map(|end| 1 + 2 + end + 1),
        _ => characters.next().filter(|(_, next)| *next == '\'').map(|(at, _)| 1 + at + 1),
    }
}
