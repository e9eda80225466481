# The program alone, built from the sources beside this file. Neither stage fetches anything but crates and Debian packages.
FROM rust:1.95-slim-bookworm AS build
# For librdkafka, which is built from source.
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ libssl-dev make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
# rust-toolchain.toml stays outside: the image's own compiler is the pinned version.
COPY . .
RUN cargo build --locked --profile dist --bin walbridge

FROM debian:bookworm-slim
# The certificate authorities that `sslmode=verify-full` trusts unless told otherwise.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libssl3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 7431 --no-create-home walbridge \
    && install -d -o walbridge -g walbridge -m 700 /var/lib/walbridge
COPY --from=build /build/target/dist/walbridge /usr/local/bin/walbridge
USER walbridge
VOLUME /var/lib/walbridge
ENTRYPOINT ["walbridge"]
CMD ["run", "--config", "/etc/walbridge/walbridge.toml"]
