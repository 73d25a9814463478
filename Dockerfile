# The server, its tools and the bundled models on Debian slim, without the compiler.
#
#   docker build -t trm-server . && docker run -p 8080:8080 trm-server
#
# SUITE=trixie (oneDNN 3.x) takes the place of bookworm (oneDNN 2.6). Settings are TRM_* variables: see README.
# Nothing is written: run it with --read-only.
ARG SUITE=bookworm

FROM debian:${SUITE}-slim AS build
WORKDIR /src
COPY docker/install-deps.sh docker/
RUN docker/install-deps.sh build man
COPY . .
RUN make -j"$(nproc)" CFLAGS=-O3 install DESTDIR=/out PREFIX=/usr && strip /out/usr/bin/*

FROM debian:${SUITE}-slim
COPY docker/install-deps.sh /tmp/
RUN /tmp/install-deps.sh runtime && rm -rf /tmp/install-deps.sh /var/lib/apt/lists/* /var/cache/apt /var/log/*
COPY --from=build /out/usr/bin /usr/bin
COPY --from=build /out/usr/share/trm-server /usr/share/trm-server
COPY docker/healthy /usr/share/trm-server/

# nobody, as a number: Kubernetes can then see that it is not root.
USER 65534:65534
ENV TRM_HOST=0.0.0.0 \
    TRM_MODEL=/usr/share/trm-server/models/sudoku.safetensors,/usr/share/trm-server/models/maze.safetensors,/usr/share/trm-server/models/maze-hard.safetensors,/usr/share/trm-server/models/arc.safetensors
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["/usr/share/trm-server/healthy"]
ENTRYPOINT ["trm-server"]
