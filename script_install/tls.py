"""The master's certificate, in one place for nginx and RabbitMQ: self-signed, Let's Encrypt's, or the operator's own.

/etc/datarun/tls/cert.pem, key.pem   what both serve
/etc/datarun/tls/ca.pem, ca.key      self-signed: the authority that runners and browsers are to trust
"""

import ipaddress
from string import Template

from .envfile import Settings
from .errors import ProvisionError
from .machine import Machine

FOLDER = "/etc/datarun/tls"
RABBITMQ = "/etc/rabbitmq/datarun"
_HOOK = "/etc/letsencrypt/renewal-hooks/deploy/datarun"
_SOON = str(30 * 24 * 3600)  # seconds: a certificate that ends before is made anew

_AUTHORITY = """
umask 077; cd "$1"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 7300 -subj "/CN=datarun of $2" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
    -keyout ca.key -out ca.new
chmod 644 ca.new; mv ca.new ca.pem
"""
# Made by -CA, which signs at once: no request to keep.
_CERTIFICATE = """
umask 077; cd "$1"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 730 -subj "/CN=datarun" \
    -CA ca.pem -CAkey ca.key -addext "subjectAltName=$2" -addext basicConstraints=critical,CA:FALSE \
    -addext keyUsage=critical,digitalSignature -addext extendedKeyUsage=serverAuth \
    -keyout key.new -out cert.new
cat ca.pem >>cert.new
chmod 644 cert.new; mv key.new key.pem; mv cert.new cert.pem
"""
_RENEWED = Template("""\
#!/bin/sh
# Let's Encrypt has a new certificate: nginx and RabbitMQ get it.
set -eu
live=/etc/letsencrypt/live/$name
install -m 644 "$$live/fullchain.pem" $folder/cert.pem
install -m 600 "$$live/privkey.pem" $folder/key.pem
if [ -d $rabbitmq ]; then
    install -o rabbitmq -g rabbitmq -m 400 $folder/cert.pem $folder/key.pem $rabbitmq
fi
systemctl reload nginx || true
""")


def ensure(machine: Machine, settings: Settings) -> None:
    """A certificate for all names of the master."""
    machine.folder(FOLDER)
    if settings.certificate is not None and settings.key is not None:
        machine.file(f"{FOLDER}/cert.pem", settings.certificate.read_bytes())
        machine.file(f"{FOLDER}/key.pem", settings.key.read_bytes(), mode="600")
    elif settings.tls == "letsencrypt":
        _lets_encrypt(machine, settings)
    else:
        _self_signed(machine, settings)


def give_to_rabbitmq(machine: Machine) -> None:
    """Copies that RabbitMQ may read, and reads again when they change."""
    owner = "rabbitmq:rabbitmq"
    machine.folder(RABBITMQ, owner, "750")
    for name in ("cert.pem", "key.pem"):
        machine.file(f"{RABBITMQ}/{name}", machine.read(f"{FOLDER}/{name}") or "", owner, "400")


def authority(machine: Machine, settings: Settings) -> str:
    """The authority's certificate that others need to trust the master; empty if systems know it already."""
    return (machine.read(f"{FOLDER}/ca.pem") or "") if settings.tls == "self-signed" else ""


def days_left(machine: Machine) -> str:
    """When the certificate ends, as openssl says it."""
    asked = machine.run("openssl", "x509", "-enddate", "-noout", "-in", f"{FOLDER}/cert.pem", check=False)
    return asked.text.strip().removeprefix("notAfter=")


def _self_signed(machine: Machine, settings: Settings) -> None:
    names = ",".join(_alternative(host) for host in dict.fromkeys((settings.master, *settings.hosts)))
    if machine.read(f"{FOLDER}/ca.pem") is None and machine.change("make a certificate authority"):
        machine.script(_AUTHORITY, FOLDER, settings.master, what="openssl")
    lasts = machine.run(
        "openssl", "x509", "-checkend", _SOON, "-noout", "-in", f"{FOLDER}/cert.pem", check=False
    )
    named = machine.read(f"{FOLDER}/names")
    if (lasts.code or named != names) and machine.change(f"make a certificate for {names}"):
        machine.script(_CERTIFICATE, FOLDER, names, what="openssl")
        machine.file(f"{FOLDER}/names", names)


def _alternative(host: str) -> str:
    try:
        return f"IP:{ipaddress.ip_address(host.strip('[]'))}"
    except ValueError:
        return f"DNS:{host}"


def _lets_encrypt(machine: Machine, settings: Settings) -> None:
    names = [
        host
        for host in dict.fromkeys((settings.master, *settings.hosts))
        if _alternative(host).startswith("DNS")
    ]
    if len(names) != len({settings.master, *settings.hosts}):
        raise ProvisionError(
            "Let's Encrypt certifies names only: IP_MASTER and ALLOWED_HOSTS must be host names."
        )
    machine.packages("certbot")
    machine.folder(_HOOK.rsplit("/", 1)[0])
    hook = _RENEWED.substitute(name="datarun", folder=FOLDER, rabbitmq=RABBITMQ)
    machine.file(_HOOK, hook, mode="755")
    named = machine.read(f"{FOLDER}/names")
    if named != ",".join(names) and machine.change(
        f"ask Let's Encrypt for a certificate for {', '.join(names)}"
    ):
        domains = [word for name in names for word in ("-d", name)]
        asked = ("certonly", "--standalone", "--non-interactive", "--agree-tos", "--cert-name", "datarun")
        machine.run("certbot", *asked, "--expand", "-m", settings.email, *domains, what="certbot")
        machine.run(_HOOK)
        machine.file(f"{FOLDER}/names", ",".join(names))
