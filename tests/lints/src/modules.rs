//! The modules of the library and of the program, with the items, imports and paths of each.
//!
//! The scanner works on tokens, so comments and texts cannot mislead it and paths inside macros count.
//! Items under `#[cfg(test)]` are left out: a test may look at anything.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// One module: a file, or an inline `mod` of one.
#[derive(Debug)]
pub(crate) struct Module {
    /// Its file, an index into [`Sources::files`].
    pub(crate) file: usize,
    /// The module that declares it; none for the root of a crate.
    pub(crate) parent: Option<usize>,
    /// The root module of its crate.
    pub(crate) root: usize,
    /// The modules that it declares.
    pub(crate) children: BTreeMap<String, usize>,
    /// The items that it declares, except modules, with the keyword of each.
    pub(crate) items: BTreeMap<String, &'static str>,
    /// What it imports.
    pub(crate) uses: Vec<Use>,
    /// The paths that its code names outside imports.
    pub(crate) paths: BTreeSet<Vec<String>>,
}

/// One name of an import.
#[derive(Debug)]
pub(crate) struct Use {
    /// The whole path.
    pub(crate) path: Vec<String>,
    /// The name that it gets here; `*` for a glob.
    pub(crate) name: String,
}

/// A file that belongs to a module.
#[derive(Debug)]
pub(crate) struct File {
    /// Its path in the repository, with `/`.
    pub(crate) path: String,
    /// Lines that call something by which data gets to the disk, outside comments and tests.
    pub(crate) text: String,
    /// The file of the module that declares it, unless it is the root of a crate.
    pub(crate) declared_in: Option<usize>,
}

/// Every module of both crates.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    pub(crate) files: Vec<File>,
    pub(crate) modules: Vec<Module>,
    /// The root module of the library.
    pub(crate) library: usize,
}

/// The name by which the program calls the library.
pub(crate) const LIBRARY: &str = "redb_runtime_store";
/// The roots of the crates.
const ROOTS: [&str; 2] = ["src/lib.rs", "src/bin/runtime-store/main.rs"];

/// Reads the crates of the repository at `root`.
pub(crate) fn read(root: &Path) -> Result<Sources, String> {
    let mut sources = Sources::default();
    for path in ROOTS {
        if root.join(path).is_file() {
            sources.read_file(root, PathBuf::from(path), None)?;
        }
    }
    match sources.files.is_empty() {
        true => Err(format!("{}: no {}", root.display(), ROOTS[0])),
        false => Ok(sources),
    }
}

impl Sources {
    /// Reads one file as the module that `parent` declares; returns the module.
    fn read_file(
        &mut self,
        root: &Path,
        path: PathBuf,
        parent: Option<usize>,
    ) -> Result<usize, String> {
        let text = fs::read_to_string(root.join(&path))
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let tokens: TokenStream = text
            .parse()
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let file = self.files.len();
        self.files.push(File {
            path: normal(&path),
            text,
            declared_in: parent.map(|module| self.modules[module].file),
        });
        let module = self.add(file, parent);
        let directory = path.parent().unwrap_or(Path::new("")).to_owned();
        let stem = path.file_stem().unwrap_or_default();
        let children = match parent.is_none() || stem == "mod" {
            true => directory.clone(),
            false => directory.join(stem),
        };
        let mut scanner = Scanner {
            sources: self,
            root,
            directory,
            children,
        };
        scanner.scan(tokens, module, true)?;
        Ok(module)
    }

    fn add(&mut self, file: usize, parent: Option<usize>) -> usize {
        let module = self.modules.len();
        self.modules.push(Module {
            file,
            parent,
            root: parent.map_or(module, |parent| self.modules[parent].root),
            children: BTreeMap::new(),
            items: BTreeMap::new(),
            uses: Vec::new(),
            paths: BTreeSet::new(),
        });
        module
    }
}

/// A path with `/` and without `..`.
fn normal(path: &Path) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(parts.pop()),
            part => parts.push(part.as_os_str().to_string_lossy().into_owned()),
        }
    }
    parts.join("/")
}

/// Reads the tokens of one file.
struct Scanner<'a> {
    sources: &'a mut Sources,
    root: &'a Path,
    /// Where the file is: a `#[path]` starts here.
    directory: PathBuf,
    /// Where the files of its child modules are.
    children: PathBuf,
}

impl Scanner<'_> {
    /// Reads the tokens of a module or of a group inside of one; only at `top` do items belong to the
    /// module.
    fn scan(&mut self, tokens: TokenStream, module: usize, top: bool) -> Result<(), String> {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut path_attribute = None;
        let mut at = 0;
        while at < tokens.len() {
            if let Some((attribute, next)) = attribute(&tokens, at) {
                if is_test(&attribute) {
                    at = after_item(&tokens, next);
                    continue;
                }
                path_attribute = path_of(&attribute).or(path_attribute);
                at = next;
                continue;
            }
            at = match &tokens[at] {
                TokenTree::Group(group) => {
                    self.scan(group.stream(), module, false)?;
                    at + 1
                }
                TokenTree::Ident(word) => match word.to_string().as_str() {
                    "use" => self.imports(&tokens, at + 1, module),
                    "mod" if top => self.module(&tokens, at, module, path_attribute.take())?,
                    word => {
                        if top {
                            self.item(word, &tokens, at, module);
                        }
                        self.path(&tokens, at, module)
                    }
                },
                _ => at + 1,
            };
        }
        Ok(())
    }

    /// Notes the item that begins at `at`, if one does.
    fn item(&mut self, word: &str, tokens: &[TokenTree], at: usize, module: usize) {
        let keywords = [
            "struct", "enum", "trait", "fn", "type", "union", "const", "static",
        ];
        let Some(keyword) = keywords.into_iter().find(|keyword| *keyword == word) else {
            if word == "macro_rules"
                && let Some(name) = ident(tokens, at + 2)
            {
                self.sources.modules[module]
                    .items
                    .insert(name, "macro_rules");
            }
            return;
        };
        let name_at = match ident(tokens, at + 1).as_deref() {
            Some("mut") => at + 2,
            _ => at + 1,
        };
        let not_names = ["fn", "unsafe", "async", "extern"];
        if let Some(name) = ident(tokens, name_at)
            && !not_names.contains(&&*name)
        {
            self.sources.modules[module].items.insert(name, keyword);
        }
    }

    /// Reads `mod name;` or `mod name { … }` at `at`; returns where the next token is.
    fn module(
        &mut self,
        tokens: &[TokenTree],
        at: usize,
        parent: usize,
        path_attribute: Option<String>,
    ) -> Result<usize, String> {
        let Some(name) = ident(tokens, at + 1) else {
            return Ok(at + 1);
        };
        let child = match tokens.get(at + 2) {
            Some(TokenTree::Group(group)) => {
                let file = self.sources.modules[parent].file;
                let child = self.sources.add(file, Some(parent));
                let outer = self.children.clone();
                self.children = outer.join(&name);
                self.scan(group.stream(), child, true)?;
                self.children = outer;
                child
            }
            _ if self.sources.modules[parent].children.contains_key(&name) => return Ok(at + 3),
            _ => {
                let flat = self.children.join(format!("{name}.rs"));
                let path = match path_attribute {
                    Some(path) => self.directory.join(path),
                    None if self.root.join(&flat).is_file() => flat,
                    None => self.children.join(&name).join("mod.rs"),
                };
                self.sources.read_file(self.root, path, Some(parent))?
            }
        };
        self.sources.modules[parent].children.insert(name, child);
        Ok(at + 3)
    }

    /// Reads the tree of an import up to its semicolon; returns where the next token is.
    fn imports(&mut self, tokens: &[TokenTree], at: usize, module: usize) -> usize {
        let end = (at..tokens.len())
            .find(|at| is_punct(tokens, *at, ';'))
            .unwrap_or(tokens.len());
        let uses = &mut self.sources.modules[module].uses;
        // `impl Trait + use<'a>` is no import.
        if !is_punct(tokens, at, '<') {
            tree(&tokens[at..end], &[], uses);
        }
        end + 1
    }

    /// Notes the path that begins at `at`; returns where the next token is.
    fn path(&mut self, tokens: &[TokenTree], at: usize, module: usize) -> usize {
        let continued = at >= 2 && is_punct(tokens, at - 1, ':') && is_punct(tokens, at - 2, ':');
        let mut path = Vec::new();
        let mut next = at;
        while let Some(segment) = ident(tokens, next) {
            path.push(segment);
            next += 1;
            if !(is_punct(tokens, next, ':') && is_punct(tokens, next + 1, ':')) {
                break;
            }
            next += 2;
        }
        if !continued && path.len() > 1 {
            self.sources.modules[module].paths.insert(path);
        }
        next.max(at + 1)
    }
}

/// Adds the names of an import's tree.
fn tree(tokens: &[TokenTree], prefix: &[String], uses: &mut Vec<Use>) {
    let mut path = prefix.to_vec();
    let mut at = 0;
    let mut name = None;
    let mut push = |path: &[String], name: Option<String>| {
        let mut path = path.to_vec();
        // `use module::{self}` imports the module.
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        if let Some(last) = path.last().cloned() {
            let name = name.unwrap_or(last);
            uses.push(Use { path, name });
        }
    };
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Group(group) => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                for part in inner.split(|token| is_this(token, ',')) {
                    tree(part, &path, uses);
                }
                return;
            }
            TokenTree::Ident(word) if word == "as" => {
                name = ident(tokens, at + 1);
                break;
            }
            TokenTree::Ident(word) => path.push(word.to_string()),
            token if is_this(token, '*') => {
                push(&path, Some("*".to_owned()));
                return;
            }
            _ => {}
        }
        at += 1;
    }
    if path.len() > prefix.len() {
        push(&path, name);
    }
}

/// The attribute that begins at `at`, and where the next token is.
fn attribute(tokens: &[TokenTree], at: usize) -> Option<(TokenStream, usize)> {
    if !is_punct(tokens, at, '#') {
        return None;
    }
    let at = at + usize::from(is_punct(tokens, at + 1, '!')) + 1;
    match tokens.get(at) {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Bracket => {
            Some((group.stream(), at + 1))
        }
        _ => None,
    }
}

/// Whether an attribute keeps its item for tests.
fn is_test(attribute: &TokenStream) -> bool {
    let text: String = attribute
        .to_string()
        .split_whitespace()
        .collect::<Vec<_>>()
        .concat();
    text == "test" || text.starts_with("cfg(test") || text.starts_with("cfg(all(test")
}

/// The path of a `#[path = "…"]`.
fn path_of(attribute: &TokenStream) -> Option<String> {
    let text = attribute.to_string();
    let path = text.strip_prefix("path")?.trim_start().strip_prefix('=')?;
    Some(path.trim().trim_matches('"').to_owned())
}

/// Where the item that begins at `at` ends: after its braces or its semicolon.
fn after_item(tokens: &[TokenTree], mut at: usize) -> usize {
    while at < tokens.len() {
        let is_end = match &tokens[at] {
            TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
            token => is_this(token, ';'),
        };
        at += 1;
        if is_end {
            break;
        }
    }
    at
}

fn ident(tokens: &[TokenTree], at: usize) -> Option<String> {
    match tokens.get(at) {
        Some(TokenTree::Ident(word)) => Some(word.to_string()),
        _ => None,
    }
}

fn is_this(token: &TokenTree, character: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == character)
}

fn is_punct(tokens: &[TokenTree], at: usize, character: char) -> bool {
    tokens
        .get(at)
        .is_some_and(|token| is_this(token, character))
}
