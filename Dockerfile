# An image with the tool only: `docker build -t backfill .`, then see docker-compose.yml.
#
# Both stages use the same Debian release, so that the binary runs with the glibc it was linked against.
FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
RUN cargo build --locked --release --bin backfill \
    && mkdir -p /out/state/.backfill \
    && cp target/release/backfill /out/

# At run time the binary needs only glibc and the CA certificates. It runs as a user without privileges.
FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 65532 --no-create-home --shell /usr/sbin/nologin backfill
COPY --from=build /out/backfill /usr/local/bin/backfill
# The tool keeps state files in .backfill/ in the working directory. A new named volume at /state inherits this owner.
COPY --from=build --chown=65532:65532 /out/state /state
WORKDIR /state
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/backfill"]
CMD ["--help"]
