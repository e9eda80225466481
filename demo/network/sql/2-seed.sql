-- Fills the network: the same people and posts each time.

CREATE FUNCTION pick(choices text[], place bigint) RETURNS text IMMUTABLE LANGUAGE sql
    RETURN choices[1 + (place % array_length(choices, 1))::int];

INSERT INTO users (handle, name, email, headline, bio, plan, interests, settings, credit, joined_at)
SELECT lower(first || '.' || last) || g,
       first || ' ' || last,
       lower(first) || g || '@' || pick('{example.org,example.com,example.net}', g),
       pick('{Gardener,Cyclist,"Bread baker",Cartographer,"Night owl","Choir singer",Beekeeper,"Database person"}', g * 7)
           || ' in ' || pick('{Lisbon,Oslo,Kyoto,Graz,Valparaíso,Łódź,Nairobi,Tallinn,Córdoba,Galway}', g * 11),
       -- Every fifth bio is long: an unrelated UPDATE then does not carry it.
       CASE WHEN g % 5 = 0
            THEN 'Born by the sea, “raised” on trains. ' || (SELECT string_agg(md5(g || '-' || i), ' ') FROM generate_series(1, 120) i)
            WHEN g % 7 = 0 THEN NULL
            ELSE 'I write about ' || pick('{maps,soil,type,rivers,bridges,indexes}', g * 3) || ' & ' || pick('{tea,"slow travel",chess,jazz}', g) || '.'
       END,
       pick('{free,free,free,plus,plus,team}', g * 5)::plan,
       ARRAY[pick('{music,sailing,films}', g), pick('{"open data",gardens,"tea, green"}', g * 3)],
       jsonb_build_object('theme', pick('{light,dark}', g), 'mails', g % 2 = 0, 'shown', jsonb_build_array(g % 9, NULL, 'é"\')),
       (g * 137 % 100000) / 100.0,
       timestamptz '2021-03-01 08:00+00' + g * interval '17 hours 13 minutes 7.123456 seconds'
FROM generate_series(1, 400) g,
     LATERAL (SELECT pick('{Ada,Björn,Chiara,Deniz,Emeka,Frøya,Goran,Hana,Inés,Jun,Kofi,Łucja,Mina,Noé,Oksana,Priya}', g * 13) AS first,
                     pick('{Almeida,Brandt,Castro,Dvořák,Eriksen,Fontaine,García,Hoang,Ivanova,Jansen,Kimura,"O''Brien"}', g * 5 + g / 16) AS last) person;

INSERT INTO skills (user_id, name, level)
SELECT u, pick('{Rust,PostgreSQL,Welding,Sketching,Cooking,Fencing,Piano,"Public speaking","C++",Grafting}', u + s * 3), 1 + (u + s) % 5
FROM generate_series(1, 400) u, generate_series(1, 3) s
ON CONFLICT DO NOTHING;

INSERT INTO posts (author_id, body, tags, attachments, created_at)
SELECT 1 + p * 37 % 400,
       pick('{"Rain again, but","Look:","Good morning 🌱","Note to self:","Who knew that","After years of trying,"}', p)
           || ' ' || pick('{"the old bridge","my sourdough","this index","the 7:15 train","our choir","a borrowed bicycle"}', p * 5)
           || ' ' || pick('{"holds up well.","is late, as ever.","finally works.","surprised us all.","needs more salt."}', p * 3),
       CASE WHEN p % 3 = 0 THEN '{}' ELSE ARRAY['day' || p % 30, pick('{food,rail,code,garden}', p)] END,
       CASE WHEN p % 4 = 0 THEN jsonb_build_object('kind', 'photo', 'size', jsonb_build_array(1280, 720 + p % 5), 'alt', 'a picture') END,
       timestamptz '2024-01-01 00:00+00' + p * interval '3 hours 0.000001 seconds'
FROM generate_series(1, 2000) p;

INSERT INTO follows (follower_id, followee_id, since)
SELECT a, b, timestamptz '2023-05-05 12:00+00' + a * b * interval '1 minute'
FROM generate_series(1, 400) a, LATERAL (SELECT DISTINCT 1 + (a * 17 + i * i * 29) % 400 AS b FROM generate_series(1, 10) i) others
WHERE a <> b;

INSERT INTO likes (user_id, post_id)
SELECT u, 1 + (u * 91 + i * 13) % 2000 FROM generate_series(1, 400) u, generate_series(1, 15) i
ON CONFLICT DO NOTHING;

UPDATE posts SET likes_count = (SELECT count(*) FROM likes WHERE post_id = posts.id);

INSERT INTO page_views (user_id, path, took_ms, agent, viewed_at)
SELECT CASE WHEN v % 3 > 0 THEN 1 + v % 400 END, '/' || pick('{home,posts/,search?q=tea,people/,settings}', v) || v % 50,
       (v * 7 % 3000) / 8.0, jsonb_build_object('os', pick('{Linux,macOS,Android}', v), 'v', v % 12),
       timestamptz '2025-10-01 00:00+00' + v * interval '11.5 seconds'
FROM generate_series(1, 3000) v;

DROP FUNCTION pick;
ANALYZE;
