-- What the people of the network do, one procedure for each; `demo/writers.rs` calls them. A CALL is one transaction.

CREATE SCHEMA demo;

CREATE FUNCTION demo.any(choices text[]) RETURNS text VOLATILE LANGUAGE sql
    RETURN choices[1 + floor(random() * array_length(choices, 1))::int];
CREATE FUNCTION demo.someone() RETURNS bigint VOLATILE LANGUAGE sql
BEGIN ATOMIC SELECT id FROM public.users ORDER BY random() LIMIT 1; END;
CREATE FUNCTION demo.some_post() RETURNS bigint VOLATILE LANGUAGE sql
BEGIN ATOMIC SELECT id FROM public.posts ORDER BY random() LIMIT 1; END;
CREATE FUNCTION demo.sentence() RETURNS text VOLATILE LANGUAGE sql
    RETURN demo.any('{Today,"Once more","This morning",Honestly,"Against all odds"}') || ' '
        || demo.any('{"the harbour","my neighbour","a small query","the night bus","our garden","the last page"}') || ' '
        || demo.any('{"smelled of rain","sang along","came back","took its time","made sense","tastes of pears"}') || demo.any('{.,!,"…"," 🌿"," \\o/"}');

CREATE PROCEDURE demo.view_pages() LANGUAGE sql AS $$
    INSERT INTO page_views (user_id, path, took_ms, agent)
    SELECT u.id, demo.any('{/home,/people/1,/posts/7,"/search?q=rust",/settings}'), random() * 400, '{"os": "Linux", "v": 3}'
    FROM (SELECT id FROM users ORDER BY random() LIMIT 1 + floor(random() * 4)::int) u
$$;

CREATE PROCEDURE demo.write_post() LANGUAGE sql AS $$
    INSERT INTO posts (author_id, body, tags) VALUES (demo.someone(), demo.sentence(), ARRAY[demo.any('{food,rail,code}'), 'new'])
$$;

CREATE PROCEDURE demo.edit_post() LANGUAGE sql AS $$
    UPDATE posts SET body = demo.sentence(), edited_at = clock_timestamp() WHERE id = (SELECT demo.some_post())
$$;

-- Two tables in one transaction: a reader of the cache never sees the like without its count.
CREATE PROCEDURE demo.like_post() LANGUAGE plpgsql AS $$
DECLARE post bigint := demo.some_post();
BEGIN
    INSERT INTO likes (user_id, post_id) VALUES (demo.someone(), post) ON CONFLICT DO NOTHING;
    IF FOUND THEN UPDATE posts SET likes_count = likes_count + 1 WHERE id = post; END IF;
END $$;

CREATE PROCEDURE demo.unlike_post() LANGUAGE plpgsql AS $$
DECLARE post bigint;
BEGIN
    DELETE FROM likes WHERE ctid = (SELECT ctid FROM likes ORDER BY random() LIMIT 1) RETURNING post_id INTO post;
    UPDATE posts SET likes_count = likes_count - 1 WHERE id = post;
END $$;

CREATE PROCEDURE demo.follow() LANGUAGE sql AS $$
    INSERT INTO follows (follower_id, followee_id)
    SELECT a.id, b.id FROM (SELECT demo.someone() AS id) a, (SELECT demo.someone() AS id) b WHERE a.id <> b.id
    ON CONFLICT DO NOTHING
$$;

CREATE PROCEDURE demo.unfollow() LANGUAGE sql AS $$
    DELETE FROM follows WHERE ctid = (SELECT ctid FROM follows ORDER BY random() LIMIT 1)
$$;

-- A change of a composite key.
CREATE PROCEDURE demo.follow_another() LANGUAGE plpgsql AS $$
DECLARE other bigint := demo.someone();
BEGIN
    UPDATE follows f SET followee_id = other
    WHERE ctid = (SELECT ctid FROM follows ORDER BY random() LIMIT 1) AND follower_id <> other
      AND NOT EXISTS (SELECT FROM follows g WHERE g.follower_id = f.follower_id AND g.followee_id = other);
END $$;

-- The long texts of some people are not part of this change, and must not get lost by it.
CREATE PROCEDURE demo.edit_profile() LANGUAGE sql AS $$
    UPDATE users SET headline = demo.sentence(), settings = settings || jsonb_build_object('edits', coalesce((settings ->> 'edits')::int, 0) + 1),
           credit = credit + (random() * 10)::numeric(12, 2)
    WHERE id = (SELECT demo.someone())
$$;

CREATE PROCEDURE demo.rewrite_bio() LANGUAGE sql AS $$
    UPDATE users SET bio = demo.any(ARRAY[NULL, demo.sentence(),
        demo.sentence() || (SELECT string_agg(md5(random()::text), ' ') FROM generate_series(1, 150))])
    WHERE id = (SELECT demo.someone())
$$;

CREATE PROCEDURE demo.learn() LANGUAGE sql AS $$
    INSERT INTO skills (user_id, name, level)
    VALUES (demo.someone(), demo.any('{Rust,SQL,Baking,Juggling,Sailing,"Reading maps"}'), 1 + floor(random() * 5)::int)
    ON CONFLICT (user_id, name) DO UPDATE SET level = excluded.level
$$;

CREATE PROCEDURE demo.forget() LANGUAGE sql AS $$
    DELETE FROM skills WHERE id = (SELECT id FROM skills ORDER BY random() LIMIT 1)
$$;

-- Five tables in one transaction.
CREATE PROCEDURE demo.sign_up() LANGUAGE plpgsql AS $$
DECLARE
    person bigint;
    post bigint;
    first text := demo.any('{Aino,Benoît,Carmen,Dag,Elif,Fatou,Gil,Håkon}');
    last text := demo.any('{Nguyen,Okafor,Petrov,Quispe,Rossi,Sørensen,Tanaka,Ünal}');
BEGIN
    INSERT INTO users (handle, name, email, headline, bio, interests)
    VALUES (lower(first || '.' || last) || substr(gen_random_uuid()::text, 1, 8), first || ' ' || last, lower(last) || '@example.org',
            'New here', demo.sentence(), '{tea}')
    RETURNING id INTO person;
    INSERT INTO skills (user_id, name, level) VALUES (person, 'Rust', 1), (person, 'Small talk', 3);
    INSERT INTO posts (author_id, body) VALUES (person, 'Hello! ' || demo.sentence()) RETURNING id INTO post;
    INSERT INTO follows (follower_id, followee_id)
        SELECT person, id FROM users WHERE id <> person ORDER BY random() LIMIT 3;
    INSERT INTO likes (user_id, post_id) VALUES (person, post);
    UPDATE posts SET likes_count = 1 WHERE id = post;
END $$;

-- One DELETE, and the foreign keys take everything of that person along.
CREATE PROCEDURE demo.leave() LANGUAGE sql AS $$
    DELETE FROM users WHERE id = (SELECT demo.someone()) AND (SELECT count(*) FROM users) > 300
$$;

-- A change of a primary key: the row and all that refer to it move.
CREATE PROCEDURE demo.move_account() LANGUAGE sql AS $$
    UPDATE users SET id = nextval('users_id_seq'::regclass) + 100000 WHERE id = (SELECT demo.someone())
$$;

-- Nothing of this may ever show.
CREATE PROCEDURE demo.think_again() LANGUAGE plpgsql AS $$
BEGIN
    UPDATE users SET headline = 'never seen', plan = 'team';
    INSERT INTO posts (author_id, body) VALUES (demo.someone(), 'never seen');
    ROLLBACK;
END $$;

CREATE PROCEDURE demo.forget_old_views() LANGUAGE sql AS $$
    DELETE FROM page_views WHERE id IN (SELECT id FROM page_views ORDER BY viewed_at LIMIT 25)
$$;
