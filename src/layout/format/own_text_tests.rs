//! Tests of `own_text` with random documents and random changes.

use crate::layout::format::own_text::{Manner, merged};
use crate::layout::format::spans;
use serde_json::{Map, Value, json};

/// A generator of numbers that a seed determines.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn name(&mut self) -> String {
        const NAMES: [&str; 7] = ["a", "b", "status", "n:", "q\"", "é", "limits"];
        NAMES[self.below(7) as usize].to_owned()
    }

    fn value(&mut self, depth: u32) -> Value {
        match self.below(if depth < 3 { 7 } else { 4 }) {
            0 => Value::Null,
            1 => json!(self.below(100)),
            2 => json!(self.below(2) == 0),
            3 => json!(["x", "", "a,b:{", "\"\\\n", "é\u{1f680}"][self.below(5) as usize]),
            4 | 5 => {
                let count = self.below(5);
                let member = |_| (self.name(), self.value(depth + 1));
                Value::Object((0..count).map(member).collect())
            }
            _ => (0..self.below(5)).map(|_| self.value(depth + 1)).collect(),
        }
    }

    /// A value that differs from `value` in some parts.
    fn changed(&mut self, value: &Value, depth: u32) -> Value {
        if self.below(4) == 0 {
            return self.value(depth);
        }
        match value {
            Value::Object(members) => {
                let mut changed = Map::new();
                for (name, value) in members {
                    match self.below(8) {
                        0 => {}
                        1..4 => drop(changed.insert(name.clone(), self.changed(value, depth + 1))),
                        _ => drop(changed.insert(name.clone(), value.clone())),
                    }
                }
                if self.below(3) == 0 {
                    changed.insert(self.name(), self.value(depth + 1));
                }
                Value::Object(changed)
            }
            Value::Array(items) => {
                let mut changed = Vec::new();
                for item in items {
                    match self.below(8) {
                        0 => {}
                        1 => changed.extend([self.value(depth + 1), item.clone()]),
                        2 => changed.push(self.changed(item, depth + 1)),
                        _ => changed.push(item.clone()),
                    }
                }
                Value::Array(changed)
            }
            other => other.clone(),
        }
    }

    fn white(&mut self) -> &'static str {
        ["", "", " ", "\n  ", "\r\n\t"][self.below(5) as usize]
    }

    /// The value as JSON with random white space, order and escapes.
    fn written(&mut self, value: &Value) -> String {
        let mut text = self.white().to_owned();
        match value {
            Value::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                for index in (1..members.len()).rev() {
                    members.swap(index, self.below(index as u64 + 1) as usize);
                }
                let mut parts = Vec::new();
                for (name, value) in members {
                    let (name, white) = (self.written(&json!(name)), self.white());
                    parts.push(format!("{name}{white}:{}", self.written(value)));
                }
                text.push_str(&format!("{{{}{}}}", parts.join(","), self.white()));
            }
            Value::Array(items) => {
                let items: Vec<_> = items.iter().map(|item| self.written(item)).collect();
                text.push_str(&format!("[{}{}]", items.join(","), self.white()));
            }
            Value::String(string) if string.contains('é') && self.below(2) == 0 => {
                text.push_str(&value.to_string().replace('é', "\\u00E9"));
            }
            other => text.push_str(&other.to_string()),
        }
        text + self.white()
    }
}

fn object(random: &mut Random) -> Map<String, Value> {
    loop {
        if let Value::Object(members) = random.value(0) {
            return members;
        }
    }
}

fn whole_of(text: &str, name: &str) -> Option<String> {
    let member = spans::member(text, &spans::document(text), name)?;
    Some(text[member.whole].to_owned())
}

#[test]
fn random_changes_of_random_documents_are_merged() {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let first = seed.unwrap_or_else(|| u64::from(std::process::id()) << 20 | 1);
    for seed in first..first + if seed.is_some() { 1 } else { 5_000 } {
        println!("SEED={seed}");
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let before = object(&mut random);
        let absent: Vec<String> = before
            .keys()
            .filter(|_| random.below(5) == 0)
            .cloned()
            .collect();
        let mut own = before.clone();
        own.retain(|name, _| !absent.contains(name));
        let own = random.written(&Value::Object(own));
        let now = match random.below(5) {
            0 => before.clone(),
            _ => loop {
                if let Value::Object(now) = random.changed(&Value::Object(before.clone()), 0) {
                    break now;
                }
            },
        };
        let (was, is) = (json!(before).to_string(), json!(now).to_string());
        let text = merged(&own, &was, &is, Manner::default()).unwrap();
        if was == is {
            assert_eq!(text, own, "nothing changed");
        }
        let mut read: Map<String, Value> = serde_json::from_str(&text).unwrap_or_else(|error| {
            panic!("{error}: {text:?} of {own:?}, {was} and {is}");
        });
        for name in &absent {
            if before.get(name) == now.get(name) {
                let added = read.insert(name.clone(), before[name].clone());
                assert_eq!(added, None, "{name} is absent in {text:?}");
            }
        }
        assert_eq!(read, now, "{text:?} of {own:?}");
        for name in now
            .keys()
            .filter(|name| before.get(*name) == now.get(*name))
        {
            assert_eq!(
                whole_of(&text, name),
                whole_of(&own, name),
                "{name} in {text:?}"
            );
        }
    }
}

const OWN: &str =
    "{\n  \"b\" : 1,\n  \"list\": [\n    {\"id\":1},\n    {\"id\" : 2}\n  ],\n  \"z\": {}\n}";

fn of_own(before: &str, now: &str) -> String {
    merged(OWN, before, now, Manner::default()).unwrap()
}

const WAS: &str = r#"{"a":0,"b":1,"c":{"x":1},"list":[{"id":1},{"id":2}],"z":{}}"#;

#[test]
fn absent_members_of_an_empty_object_stay_absent() {
    let was = r#"{"limits":{"a":1,"b":2}}"#;
    let now = r#"{"limits":{"a":1,"b":3}}"#;
    let text = merged("{\n \"limits\" : { }}", was, now, Manner::default()).unwrap();
    assert_eq!(text, "{\n \"limits\" : {\n  \"b\": 3\n }}");
}

#[test]
fn absent_member_is_inserted_after_the_one_that_precedes_it() {
    let now = WAS.replace("\"c\":{\"x\":1}", "\"c\":{\"x\":2}");
    let inserted = OWN.replace(
        "1,\n  \"list\"",
        "1,\n  \"c\": {\n    \"x\": 2\n  },\n  \"list\"",
    );
    assert_eq!(of_own(WAS, &now), inserted);
    let first = WAS.replace("\"a\":0", "\"a\":9");
    assert_eq!(
        of_own(WAS, &first),
        OWN.replacen("{\n", "{\n  \"a\": 9,\n", 1)
    );
    let last = WAS.replace("}}", "},\"zz\":5}");
    let inserted = OWN.replace("{}\n}", "{},\n  \"zz\": 5\n}");
    assert_eq!(of_own(WAS, &last), inserted);
}

#[test]
fn items_that_stay_keep_their_bytes() {
    let added = WAS.replace("{\"id\":2}", "{\"id\":2},{\"id\":3}");
    let inserted = "{\"id\" : 2},\n    {\n      \"id\": 3\n    }";
    assert_eq!(of_own(WAS, &added), OWN.replace("{\"id\" : 2}", inserted));
    let removed = WAS.replace("{\"id\":1},", "");
    assert_eq!(of_own(WAS, &removed), OWN.replace("\n    {\"id\":1},", ""));
    let none = WAS.replace("[{\"id\":1},{\"id\":2}]", "[]");
    let start = OWN.find('[').unwrap();
    let end = OWN.find(']').unwrap();
    assert_eq!(
        of_own(WAS, &none),
        format!("{}[]{}", &OWN[..start], &OWN[end + 1..])
    );
}

#[test]
fn new_values_have_the_white_space_of_their_document() {
    let compact = r#"{"limits":{"m":1},"list":[]}"#;
    let now = r#"{"limits":{"m":2},"list":[{"id":1}]}"#;
    assert_eq!(
        merged(compact, compact, now, Manner::default()).unwrap(),
        now
    );
    let tabs = "{\r\n\t\"list\": []\r\n}\r\n";
    let text = merged(tabs, r#"{"list":[]}"#, r#"{"list":[7]}"#, Manner::default());
    assert_eq!(text.unwrap(), "{\r\n\t\"list\": [\r\n\t\t7\r\n\t]\r\n}\r\n");
}
