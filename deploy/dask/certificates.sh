#!/bin/sh
# Make the certificates that scheduler, workers and `wsiproc batch` know each other by.
#
#   sh deploy/dask/certificates.sh FOLDER [DAYS]
#
# FOLDER  to make, mode 0700; one for each cluster
# DAYS    that they hold, 825 by default
#
# An authority of its own signs three certificates: scheduler, worker, client. Who has one of them
# may run code on the cluster, so they are as good as passwords. To renew, make a new folder, put it
# in the place of the old one, and start scheduler and workers anew.
set -eu
umask 077

[ $# -ge 1 ] || { echo "usage: sh certificates.sh FOLDER [DAYS]" >&2; exit 2; }
folder=$1
days=${2:-825}
[ ! -e "$folder" ] || { echo "error: $folder is there already; name a new folder" >&2; exit 2; }
parent=$(dirname "$folder")
mkdir -p "$parent"
made=$(mktemp -d "$parent/.certificates-XXXXXX")
trap 'rm -rf "$made"' EXIT

key() { openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2>/dev/null ||
    openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }

key "$made/ca-key.pem"
openssl req -x509 -new -key "$made/ca-key.pem" -sha256 -days "$days" -subj "/CN=wsiproc Dask CA" \
    -addext "basicConstraints=critical,CA:TRUE,pathlen:0" \
    -addext "keyUsage=critical,keyCertSign" -out "$made/ca.pem"
for role in scheduler worker client; do
    key "$made/$role-key.pem"
    openssl req -new -key "$made/$role-key.pem" -subj "/CN=wsiproc $role" -out "$made/$role.csr"
    # Workers and scheduler both call and are called.
    {
        echo "basicConstraints=critical,CA:FALSE"
        echo "keyUsage=critical,digitalSignature"
        echo "extendedKeyUsage=serverAuth,clientAuth"
        echo "subjectKeyIdentifier=hash"
        echo "authorityKeyIdentifier=keyid"
    } >"$made/extensions"
    openssl x509 -req -in "$made/$role.csr" -CA "$made/ca.pem" -CAkey "$made/ca-key.pem" \
        -CAcreateserial -sha256 -days "$days" -extfile "$made/extensions" \
        -out "$made/$role.pem" 2>/dev/null
    rm "$made/$role.csr" "$made/extensions"
done
rm -f "$made/ca.srl"
# Nobody can sign another certificate once the key of the authority is gone.
rm "$made/ca-key.pem"
chmod 0400 "$made"/*.pem
mv "$made" "$folder"
trap - EXIT
echo "made: $folder (ca, scheduler, worker, client), for $days days"
