# The example MCP server, for the compose file.
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends cmake g++ make && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN cargo build --locked --release --package weather

FROM debian:bookworm-slim
COPY --from=build /source/target/release/weather /usr/local/bin/weather
USER 10001:10001
ENTRYPOINT ["/usr/local/bin/weather"]
