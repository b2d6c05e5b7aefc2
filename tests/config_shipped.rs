//! The shipped configuration: it is valid as it is, and the defaults that it shows in comments are the real ones.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{fs, path::Path};

use qantra_user::config::{Config, parse};

fn shipped() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/qantra.toml")).unwrap()
}

/// A config whose comments without a space after the # are uncommented.
fn with_defaults_shown(text: &str) -> String {
    let shown =
        |line: &str| line.strip_prefix('#').filter(|rest| rest.starts_with(char::is_alphabetic)).map(str::to_owned);
    text.lines().map(|line| shown(line).unwrap_or_else(|| line.to_owned()) + "\n").collect()
}

fn checked(text: &str) -> Config {
    parse(text, Path::new("deploy/qantra.toml")).unwrap()
}

#[test]
fn it_is_valid_and_guards_one_interface_and_one_site() {
    let config = checked(&shipped());
    assert_eq!(config.interfaces.len(), 1);
    assert_eq!(config.sites[0].hosts, ["*"]);
    assert!(!config.daemon.simulation && !config.sites[0].simulation);
}

#[test]
fn the_defaults_it_shows_are_the_real_ones() {
    let text = shipped();
    let shown = with_defaults_shown(&text);
    assert!(shown.lines().filter(|line| !line.starts_with('#')).count() > 90, "defaults are no longer shown");
    assert_eq!(checked(&shown), checked(&text));
}

#[test]
fn every_key_of_the_configuration_is_shown() {
    let text = shipped();
    // Keys of sections that exist once; those without a default are shown in an example.
    let defaults = toml::Table::try_from(Config::default()).unwrap();
    for (section, keys) in defaults.iter().filter_map(|(section, value)| Some((section, value.as_table()?))) {
        for (key, value) in keys {
            let shown = match value {
                toml::Value::Table(_) => text.contains(&format!("[{section}.{key}]")),
                toml::Value::Array(list) if list.is_empty() && ["rule", "exclude"].contains(&key.as_str()) => {
                    text.contains(&format!("[[{section}.{key}]]"))
                }
                _ => text.lines().any(|line| line.trim_start_matches(['#', ' ']).starts_with(&format!("{key} = "))),
            };
            assert!(shown, "deploy/qantra.toml does not show {section}.{key}");
        }
    }
}
