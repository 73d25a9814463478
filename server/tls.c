/* tls.c - see tls.h. Everything belongs to the loop thread. */
#include "server/tls.h"

#include <errno.h>
#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "server/connection.h"
#include "server/log.h"

enum { CHAIN_MAX = 16 };

#define PRIORITIES "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

/* What a handshake needs. A handshake may still be at work with it when a newer one has come: they
 * are all kept until the end, some kilobytes for each renewal. */
struct credentials {
    gnutls_pcert_st chain[CHAIN_MAX]; /* [length] */
    unsigned length;
    gnutls_privkey_t key;
    struct credentials *older;
};

struct srv_tls {
    char *cert_file, *key_file;
    struct credentials *current;
    struct MHD_OptionItem options[3];
};

static void credentials_free(struct credentials *credentials) {
    for (unsigned i = 0; i < credentials->length; i++) {
        gnutls_pcert_deinit(&credentials->chain[i]);
    }
    if (credentials->key) {
        gnutls_privkey_deinit(credentials->key);
    }
    free(credentials);
}

static trm_status load(const char *path, gnutls_datum_t *data, trm_error *err) {
    if (gnutls_load_file(path, data) != GNUTLS_E_SUCCESS) {
        return trm_fail(err, TRM_IO, "cannot read %.150s", path);
    }
    return TRM_OK;
}

static void unload(gnutls_datum_t *data) {
    if (data->data) {
        gnutls_memset(data->data, 0, data->size);
        gnutls_free(data->data);
    }
}

/* That both can be read and belong together. */
static int check_pair(const gnutls_datum_t *cert, const gnutls_datum_t *key) {
    gnutls_certificate_credentials_t pair;
    int rc = gnutls_certificate_allocate_credentials(&pair);
    if (rc == GNUTLS_E_SUCCESS) {
        rc = gnutls_certificate_set_x509_key_mem(pair, cert, key, GNUTLS_X509_FMT_PEM);
        gnutls_certificate_free_credentials(pair);
    }
    return rc < 0 ? rc : GNUTLS_E_SUCCESS;
}

/* An unused credentials->chain has length 0 and deinits nothing, whatever fails here. */
static int import(struct credentials *credentials, const gnutls_datum_t *cert, const gnutls_datum_t *key) {
    unsigned length = CHAIN_MAX;
    int rc = check_pair(cert, key);
    if (rc == GNUTLS_E_SUCCESS) {
        rc = gnutls_pcert_list_import_x509_raw(credentials->chain, &length, cert, GNUTLS_X509_FMT_PEM,
                                               GNUTLS_X509_CRT_LIST_SORT);
    }
    if (rc < 0) {
        return rc;
    }
    credentials->length = length;
    rc = gnutls_privkey_init(&credentials->key);
    if (rc < 0) {
        return rc;
    }
    return gnutls_privkey_import_x509_raw(credentials->key, key, GNUTLS_X509_FMT_PEM, NULL, 0);
}

static void warn_of_readers(const char *key_file) {
    struct stat info;
    if (stat(key_file, &info) == 0 && (info.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        char mode[8];
        snprintf(mode, sizeof mode, "%03o", (unsigned)(info.st_mode & 0777));
        srv_log(SRV_WARN, "others may read the TLS key", "file=%s mode=%s", key_file, mode);
    }
}

trm_status srv_tls_reload(struct srv_tls *tls, trm_error *err) {
    gnutls_datum_t cert = {0}, key = {0};
    struct credentials *fresh = calloc(1, sizeof *fresh);
    if (!fresh) {
        return trm_fail_memory(err, sizeof *fresh);
    }
    trm_status status = load(tls->cert_file, &cert, err);
    if (status == TRM_OK) {
        status = load(tls->key_file, &key, err);
    }
    if (status == TRM_OK) {
        int rc = import(fresh, &cert, &key);
        if (rc < 0) {
            status = trm_fail(err, TRM_INVALID, "%.80s and %.80s are no TLS certificate and key: %s", tls->cert_file,
                              tls->key_file, gnutls_strerror(rc));
        }
    }
    if (status == TRM_OK) {
        warn_of_readers(tls->key_file);
        fresh->older = tls->current;
        tls->current = fresh;
    } else {
        credentials_free(fresh);
    }
    unload(&cert);
    unload(&key);
    return status;
}

/* GnuTLS asks for the certificate of a handshake. libmicrohttpd keeps its connection in the session. */
static int on_handshake(gnutls_session_t session, const gnutls_datum_t *names, int name_count,
                        const gnutls_pk_algorithm_t *algorithms, int algorithm_count, gnutls_pcert_st **chain,
                        unsigned int *length, gnutls_privkey_t *key) {
    struct MHD_Connection *connection = gnutls_session_get_ptr(session);
    struct srv_tls *tls = connection ? srv_connection_tls(connection) : NULL;
    (void)names;
    (void)name_count;
    (void)algorithms;
    (void)algorithm_count;
    if (!tls) {
        return -1;
    }
    *chain = tls->current->chain;
    *length = tls->current->length;
    *key = tls->current->key;
    return 0;
}

trm_status srv_tls_open(const char *cert_file, const char *key_file, struct srv_tls **result, trm_error *err) {
    *result = NULL;
    if (MHD_is_feature_supported(MHD_FEATURE_TLS) != MHD_YES ||
        MHD_is_feature_supported(MHD_FEATURE_HTTPS_CERT_CALLBACK) != MHD_YES) {
        return trm_fail(err, TRM_UNSUPPORTED, "--tls-cert: libmicrohttpd %s was built without TLS", MHD_get_version());
    }
    struct srv_tls *tls = calloc(1, sizeof *tls);
    if (!tls) {
        return trm_fail_memory(err, sizeof *tls);
    }
    tls->cert_file = strdup(cert_file);
    tls->key_file = strdup(key_file);
    trm_status status =
        tls->cert_file && tls->key_file ? srv_tls_reload(tls, err) : trm_fail_memory(err, strlen(cert_file));
    if (status != TRM_OK) {
        srv_tls_close(tls);
        return status;
    }
    tls->options[0] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_CERT_CALLBACK, 0, (void *)on_handshake};
    tls->options[1] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_PRIORITIES, 0, (char *)PRIORITIES};
    tls->options[2] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
    *result = tls;
    return TRM_OK;
}

void srv_tls_close(struct srv_tls *tls) {
    if (!tls) {
        return;
    }
    for (struct credentials *one = tls->current, *older; one; one = older) {
        older = one->older;
        credentials_free(one);
    }
    free(tls->cert_file);
    free(tls->key_file);
    free(tls);
}

struct MHD_OptionItem *srv_tls_options(struct srv_tls *tls) {
    return tls->options;
}

bool srv_tls_send(struct MHD_Connection *connection, const char *data, size_t size) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    return info && gnutls_record_send(info->tls_session, data, size) > 0;
}
