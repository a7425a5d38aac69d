# MinIO publishes no images any more: built from its Go module, pinned.

FROM golang:1.26.8-bookworm AS build
RUN CGO_ENABLED=0 go install -trimpath github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c

FROM debian:bookworm-20251117-slim
# No versions of the packages: Debian keeps only the newest, so a pin would break the build with each security update.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates curl \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 minio \
 && mkdir /data \
 && chown minio /data
COPY --from=build /go/bin/minio /usr/local/bin/minio
USER 10001
