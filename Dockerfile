# The tool on its own: `docker build -t backfill .`, then see docker-compose.yml.
#
# Built and run on the same Debian release, so that the glibc it was linked against is the one it meets.
FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
RUN cargo build --locked --release --bin backfill \
    && mkdir -p /out/state/.backfill \
    && cp target/release/backfill /out/

# What the binary needs at run time: glibc and the CA certificates. It runs as a user without rights.
FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 65532 --no-create-home --shell /usr/sbin/nologin backfill
COPY --from=build /out/backfill /usr/local/bin/backfill
# State files go to .backfill/ in the working directory. A named volume mounted at /state takes over this owner.
COPY --from=build --chown=65532:65532 /out/state /state
WORKDIR /state
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/backfill"]
CMD ["--help"]
