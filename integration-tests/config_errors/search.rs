//! Mistakes in what a search index is told.

use expect_test::expect;

use super::{check, with};

#[test]
fn an_analyzer_that_there_is_not_is_told_which_there_are() {
    check(
        &with(
            "[sinks.a]\nkind = 'tantivy'\npath = 'a'\nfrom = 'public.*'\nanalyzer = 'klingon'\nmemory = '1MiB'\n\
             [sinks.a.analyzers]\nbio = 'germn'\nsku = 'raw'\ncity = { name = 'turkish', stop_words = true }\n\
             code = { name = 'keyword', fold = true }\nname = { fold = true, stem = false }\n\
             [sinks.b]\nkind = 'tantivy'\npath = 'b'\nfrom = 'public.*'\nfields = ['bio']\nfacets = 'city'\n",
        ),
        &expect![[r#"
            walbridge.toml:10:12: error: `klingon` is not a choice for `sinks.a.analyzer`
             10 | analyzer = 'klingon'
                |            ^^^^^^^^^
               = known here: words, keyword, prefix, arabic, danish, dutch, english, finnish, french, german, greek, hungarian, italian, norwegian, portuguese, romanian, russian, spanish, swedish, tamil, turkish

            walbridge.toml:11:10: error: `1MiB` is too little for an index
             11 | memory = '1MiB'
                |          ^^^^^^
               = give it 15MB or more

            walbridge.toml:13:7: error: `germn` is not a choice for `sinks.a.analyzers.bio`
             13 | bio = 'germn'
                |       ^^^^^^^
               = did you mean `german`?

            walbridge.toml:14:7: error: `raw` is not a choice for `sinks.a.analyzers.sku`
             14 | sku = 'raw'
                |       ^^^^^
               = a value that is one term is a keyword: "keyword"

            walbridge.toml:15:8: error: there is no list of stop words for `turkish`
             15 | city = { name = 'turkish', stop_words = true }
                |        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
               = leave `stop_words` out

            walbridge.toml:16:8: error: a keyword is kept as it is
             16 | code = { name = 'keyword', fold = true }
                |        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
               = use "words", or leave `fold` out

            walbridge.toml:17:8: error: `sinks.a.analyzers.name.name` is missing
             17 | name = { fold = true, stem = false }
                |        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
               = add name = "french"

            walbridge.toml:17:23: error: unknown key `stem`
             17 | name = { fold = true, stem = false }
                |                       ^^^^
               = known here: name, stop_words, fold

            walbridge.toml:23:10: error: `city` is not one of the columns to search in
             23 | facets = 'city'
                |          ^^^^^^
               = add it to `fields`, or leave it out here

            9 mistakes in walbridge.toml
        "#]],
    );
}
