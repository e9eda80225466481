//! How text becomes terms. An index's schema keeps each field's analyzer as a name, so what an index was made with is read from the
//! index itself, and compared with the configuration at each start.

use std::collections::BTreeMap;
use std::fmt;

use tantivy::tokenizer::{
    AsciiFoldingFilter, Language, LowerCaser, RawTokenizer, RemoveLongFilter, SimpleTokenizer, Stemmer, StopWordFilter,
    TextAnalyzer, TokenizerManager,
};

use super::prefixes::Prefixes;

/// Longer words are not searchable. Tantivy's own analyzers stop at 40 bytes, which hashes and tokens have.
const WORD_BYTES_MAX: usize = 255;
/// A longer value is no keyword, and is not counted or sorted by: a term must be shorter than 64 KiB, and nobody types one.
const VALUE_BYTES_MAX: usize = 1024;
/// The analyzer of what is counted and sorted by.
pub(super) const VALUE: &str = "walbridge:value";
/// Before each analyzer's name in a schema.
const NAMESPACE: &str = "walbridge";

/// The languages that text can be stemmed in, by the words for them.
const LANGUAGES: [(&str, Language); 18] = [
    ("arabic", Language::Arabic),
    ("danish", Language::Danish),
    ("dutch", Language::Dutch),
    ("english", Language::English),
    ("finnish", Language::Finnish),
    ("french", Language::French),
    ("german", Language::German),
    ("greek", Language::Greek),
    ("hungarian", Language::Hungarian),
    ("italian", Language::Italian),
    ("norwegian", Language::Norwegian),
    ("portuguese", Language::Portuguese),
    ("romanian", Language::Romanian),
    ("russian", Language::Russian),
    ("spanish", Language::Spanish),
    ("swedish", Language::Swedish),
    ("tamil", Language::Tamil),
    ("turkish", Language::Turkish),
];

/// What a text is cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Terms {
    /// Its words.
    Words,
    /// Itself, as it is.
    Keyword,
    /// The beginnings of its words; a search looks for whole words among them.
    Prefixes,
    /// Its words' stems.
    Stems(Language),
}

/// How the text of a column becomes terms, and a query's words likewise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Analyzer {
    terms: Terms,
    stop_words: bool,
    fold: bool,
}

impl Analyzer {
    /// Words at punctuation and white space, in lower case.
    pub const WORDS: Analyzer = Analyzer { terms: Terms::Words, stop_words: false, fold: false };

    /// The analyzer of this name: `words`, `keyword`, `prefix`, or a language. A language's leaves out its stop words unless told
    /// otherwise; `fold` makes `é` the same as `e`. `None`: there is none of that name, or it cannot do what is asked of it.
    #[must_use]
    pub fn new(name: &str, stop_words: Option<bool>, fold: bool) -> Option<Analyzer> {
        let language = LANGUAGES.iter().find(|(word, _)| *word == name).map(|(_, language)| *language);
        let terms = match (name, language) {
            ("words", _) => Terms::Words,
            ("keyword", _) => Terms::Keyword,
            ("prefix", _) => Terms::Prefixes,
            (_, language) => Terms::Stems(language?),
        };
        let has_stop_words = language.is_some_and(|language| StopWordFilter::new(language).is_some());
        let stop_words = stop_words.unwrap_or(has_stop_words);
        let able = (has_stop_words || !stop_words) && (terms != Terms::Keyword || !fold);
        able.then_some(Analyzer { terms, stop_words, fold })
    }

    /// The name in a schema.
    pub(super) fn name(self) -> String {
        if self == Analyzer::WORDS { NAMESPACE.to_owned() } else { format!("{NAMESPACE}:{self}") }
    }

    /// The analyzer of a name in a schema; `None` if it is not one of ours.
    pub(super) fn of_name(name: &str) -> Option<Analyzer> {
        if name == NAMESPACE {
            return Some(Analyzer::WORDS);
        }
        let mut parts = name.strip_prefix(NAMESPACE)?.strip_prefix(':')?.split('+');
        let word = parts.next()?;
        let options: Vec<&str> = parts.collect();
        let known = options.iter().all(|option| ["stop", "fold"].contains(option));
        Analyzer::new(word, Some(options.contains(&"stop")), options.contains(&"fold")).filter(|_| known)
    }

    /// What text goes through on its way into the index.
    fn for_index(self) -> TextAnalyzer {
        match self.terms {
            Terms::Prefixes => {
                let words = TextAnalyzer::builder(SimpleTokenizer::default()).filter(word_limit());
                // Before the letters change, for a prefix must keep its place in the text.
                self.finish(words.filter(Prefixes).dynamic())
            }
            Terms::Words | Terms::Keyword | Terms::Stems(_) => self.for_query(),
        }
    }

    /// What a query's words go through.
    fn for_query(self) -> TextAnalyzer {
        if self.terms == Terms::Keyword {
            return value();
        }
        if self == Analyzer::WORDS {
            // As below, but known when this is compiled: most text of most indexes comes here.
            return TextAnalyzer::builder(SimpleTokenizer::default()).filter(word_limit()).filter(LowerCaser).build();
        }
        self.finish(TextAnalyzer::builder(SimpleTokenizer::default()).filter(word_limit()).dynamic())
    }

    fn finish(self, words: tantivy::tokenizer::TextAnalyzerBuilder) -> TextAnalyzer {
        let mut terms = words.filter_dynamic(LowerCaser);
        if let Terms::Stems(language) = self.terms
            && self.stop_words
            && let Some(stop_words) = StopWordFilter::new(language)
        {
            terms = terms.filter_dynamic(stop_words);
        }
        if self.fold {
            // Before the stemmer, so that a word has one stem however it was typed.
            terms = terms.filter_dynamic(AsciiFoldingFilter);
        }
        if let Terms::Stems(language) = self.terms {
            terms = terms.filter_dynamic(Stemmer::new(language));
        }
        terms.build()
    }
}

/// As in the configuration: `german`, and what differs from the usual behind a `+`.
impl fmt::Display for Analyzer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.terms {
            Terms::Words => "words",
            Terms::Keyword => "keyword",
            Terms::Prefixes => "prefix",
            Terms::Stems(language) => {
                LANGUAGES.iter().find(|(_, known)| *known == language).map_or("unknown", |(word, _)| word)
            }
        };
        f.write_str(word)?;
        f.write_str(if self.stop_words { "+stop" } else { "" })?;
        f.write_str(if self.fold { "+fold" } else { "" })
    }
}

/// How the columns' texts are looked at.
#[derive(Clone, Debug)]
pub struct Analysis {
    /// Of the columns that have no analyzer of their own.
    pub usual: Analyzer,
    /// Of these columns.
    pub columns: BTreeMap<String, Analyzer>,
    /// Text columns that can be counted and sorted by, as numbers, dates and booleans always can.
    pub facets: Vec<String>,
}

impl Default for Analysis {
    fn default() -> Self {
        Analysis { usual: Analyzer::WORDS, columns: BTreeMap::new(), facets: Vec::new() }
    }
}

impl Analysis {
    /// Of a column.
    pub(super) fn of(&self, column: &str) -> Analyzer {
        self.columns.get(column).copied().unwrap_or(self.usual)
    }

    /// The columns that it names.
    pub(super) fn named(&self) -> impl Iterator<Item = &String> {
        self.columns.keys().chain(&self.facets)
    }
}

/// Which of an analyzer's two sides is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Index,
    Query,
}

/// Gives a manager these analyzers, which every opened index must be given anew.
pub(super) fn register(manager: &TokenizerManager, side: Side, analyzers: impl Iterator<Item = Analyzer>) {
    for analyzer in analyzers {
        let built = match side {
            Side::Index => analyzer.for_index(),
            Side::Query => analyzer.for_query(),
        };
        manager.register(&analyzer.name(), built);
    }
}

/// Gives a manager [`VALUE`].
pub(super) fn register_value(manager: &TokenizerManager) {
    manager.register(VALUE, value());
}

fn value() -> TextAnalyzer {
    let whole = TextAnalyzer::builder(RawTokenizer::default());
    whole.filter(RemoveLongFilter::limit(VALUE_BYTES_MAX.saturating_add(1))).build()
}

fn word_limit() -> RemoveLongFilter {
    RemoveLongFilter::limit(WORD_BYTES_MAX.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(mut analyzer: TextAnalyzer, text: &str) -> Vec<String> {
        let mut terms = Vec::new();
        analyzer.token_stream(text).process(&mut |token| terms.push(token.text.clone()));
        terms
    }

    fn analyzer(name: &str, stop_words: Option<bool>, fold: bool) -> Analyzer {
        Analyzer::new(name, stop_words, fold).expect("an analyzer")
    }

    #[test]
    fn each_analyzer_makes_its_terms() {
        for (analyzer, text, expected) in [
            (Analyzer::WORDS, "Zo\u{eb}'s CAF\u{c9}", &["zo\u{eb}", "s", "caf\u{e9}"][..]),
            (analyzer("words", None, true), "CAF\u{c9}", &["cafe"]),
            (analyzer("keyword", None, false), "Red Shoe", &["Red Shoe"]),
            (analyzer("english", None, false), "the running dogs", &["run", "dog"]),
            (analyzer("english", Some(false), false), "the dogs", &["the", "dog"]),
            (analyzer("german", None, false), "die H\u{e4}user", &["haus"]),
            (analyzer("french", None, true), "des caf\u{e9}s", &["caf"]),
            (analyzer("french", None, true), "cafes", &["caf"]),
        ] {
            assert_eq!(terms(analyzer.for_index(), text), expected, "{analyzer}: {text}");
            assert_eq!(terms(analyzer.for_query(), text), expected, "{analyzer}: {text}");
        }
        let prefix = analyzer("prefix", None, false);
        assert_eq!(terms(prefix.for_index(), "Ada L"), ["a", "ad", "ada", "l"]);
        assert_eq!(terms(prefix.for_query(), "Ada"), ["ada"]);
        assert_eq!(terms(value(), &"x".repeat(2000)), [""; 0], "a long value is no term");
    }

    #[test]
    fn every_analyzer_is_known_again_by_its_name() {
        for (word, _) in LANGUAGES.iter().chain(&[("words", Language::English), ("prefix", Language::English)]) {
            for fold in [false, true] {
                let found = [None, Some(false)].map(|stop_words| analyzer(word, stop_words, fold));
                assert!(found.iter().all(|found| Analyzer::of_name(&found.name()) == Some(*found)), "{found:?}");
            }
        }
        assert_eq!(Analyzer::WORDS.name(), "walbridge");
        for name in ["default", "walbridge:", "walbridge:klingon", "walbridge:german+loud", "walbridge:value"] {
            assert_eq!(Analyzer::of_name(name), None, "{name}");
        }
        assert_eq!(Analyzer::new("turkish", Some(true), false), None, "there is no list of its stop words");
        assert_eq!(Analyzer::new("keyword", None, true), None);
    }
}
