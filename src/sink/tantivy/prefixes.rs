//! The beginnings of words, so that a word is found while it is being typed.

use tantivy::tokenizer::{Token, TokenFilter, TokenStream, Tokenizer};

/// Beginnings of so many characters are terms, and the word itself: what is typed beyond finds nothing before the word is whole.
const PREFIX_CHARS_MAX: usize = 15;

/// Puts the beginnings of each word before it, at its place in the text.
#[derive(Clone)]
pub(super) struct Prefixes;

impl TokenFilter for Prefixes {
    type Tokenizer<T: Tokenizer> = PrefixTokenizer<T>;

    fn transform<T: Tokenizer>(self, words: T) -> PrefixTokenizer<T> {
        PrefixTokenizer { words }
    }
}

/// See [`Prefixes`].
#[derive(Clone)]
pub(super) struct PrefixTokenizer<T> {
    words: T,
}

impl<T: Tokenizer> Tokenizer for PrefixTokenizer<T> {
    type TokenStream<'a> = PrefixStream<T::TokenStream<'a>>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Self::TokenStream<'a> {
        PrefixStream { words: self.words.token_stream(text), token: Token::default(), chars: 0, is_whole: true }
    }
}

/// See [`Prefixes`].
pub(super) struct PrefixStream<T> {
    words: T,
    /// The prefix that is shown.
    token: Token,
    /// Its characters.
    chars: usize,
    /// It is the word.
    is_whole: bool,
}

impl<T: TokenStream> TokenStream for PrefixStream<T> {
    fn advance(&mut self) -> bool {
        if self.is_whole {
            if !self.words.advance() {
                return false;
            }
            self.chars = 0;
        }
        let word = self.words.token();
        self.chars = self.chars.saturating_add(1);
        let end = word.text.char_indices().map(|(at, _)| at).nth(self.chars).filter(|_| self.chars <= PREFIX_CHARS_MAX);
        let bytes = end.unwrap_or(word.text.len());
        self.is_whole = end.is_none();
        self.token.text.clear();
        self.token.text.push_str(word.text.get(..bytes).unwrap_or_default());
        self.token.position = word.position;
        self.token.position_length = word.position_length;
        self.token.offset_from = word.offset_from;
        self.token.offset_to = word.offset_from.saturating_add(bytes);
        true
    }

    fn token(&self) -> &Token {
        &self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }
}

#[cfg(test)]
mod tests {
    use tantivy::tokenizer::{SimpleTokenizer, TextAnalyzer};

    use super::*;

    #[test]
    fn a_prefix_is_where_its_word_is() {
        let mut analyzer = TextAnalyzer::builder(SimpleTokenizer::default()).filter(Prefixes).build();
        let mut found = Vec::new();
        let text = "Zo\u{eb} ab";
        analyzer.token_stream(text).process(&mut |token| {
            assert_eq!(text.get(token.offset_from..token.offset_to), Some(token.text.as_str()));
            found.push((token.text.clone(), token.position));
        });
        let expected = [("Z", 0), ("Zo", 0), ("Zo\u{eb}", 0), ("a", 1), ("ab", 1)];
        assert_eq!(found, expected.map(|(text, position)| (text.to_owned(), position)));
        let (long, mut count, mut last) = ("x".repeat(40), 0, 0);
        analyzer.token_stream(&long).process(&mut |token| (count, last) = (count + 1, token.text.len()));
        assert_eq!((count, last), (PREFIX_CHARS_MAX + 1, 40), "the word itself, and no beginning beyond the limit");
    }
}
