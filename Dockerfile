# The server, its tools and the bundled model, without the compiler.
# docker build -t trm-server . && docker run -p 8080:8080 trm-server
FROM debian:bookworm-slim AS build
WORKDIR /src
COPY docker/install-deps.sh docker/
RUN docker/install-deps.sh build
COPY . .
RUN make -j"$(nproc)" CFLAGS=-O3 && make install CFLAGS=-O3 DESTDIR=/out PREFIX=/usr

FROM debian:bookworm-slim
COPY docker/install-deps.sh /tmp/
RUN /tmp/install-deps.sh runtime && rm -rf /tmp/install-deps.sh /var/lib/apt/lists/*
COPY --from=build /out/usr /usr
USER nobody
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["trm-server", "--host", "0.0.0.0", "--port", "8080"]
CMD ["--model", "/usr/share/trm-server/models/sudoku.safetensors"]
