# The tool on its own: `docker build -t backfill .`, then see docker-compose.yml.
#
# Built and run on the same Debian release, so that the glibc it was linked against is the one it meets.
FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
RUN cargo build --locked --release --bin backfill \
    && mkdir -p /out/state/.backfill \
    && cp target/release/backfill /out/

# cc: glibc, libgcc and the CA certificates, nothing else; nonroot: user 65532.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/backfill /usr/local/bin/backfill
# State files go to .backfill/ in the working directory. A named volume mounted at /state takes over this owner.
COPY --from=build --chown=65532:65532 /out/state /state
WORKDIR /state
ENTRYPOINT ["/usr/local/bin/backfill"]
CMD ["--help"]
