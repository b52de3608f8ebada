# Encrypts, signs, derives and makes a certificate, with its own OpenSSL: two sandboxes of one zygote must not draw the same keys.
import random
import ssl
from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.x509.oid import NameOID

key = rsa.generate_private_key(65537, 2048)
signature = key.sign(b"text", padding.PKCS1v15(), hashes.SHA256())
try:
    key.public_key().verify(signature, b"other", padding.PKCS1v15(), hashes.SHA256())
    is_forged = True
except InvalidSignature:
    is_forged = False
curve = ec.generate_private_key(ec.SECP256R1())
edwards = ed25519.Ed25519PrivateKey.generate()
edwards.public_key().verify(edwards.sign(b"text"), b"text")
token = Fernet(Fernet.generate_key())
name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
now = datetime(2024, 1, 1, tzinfo=timezone.utc)
certificate = (
    x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(curve.public_key()).serial_number(x509.random_serial_number())
    .not_valid_before(now).not_valid_after(now + timedelta(days=1)).sign(curve, hashes.SHA256())
)
raw = serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()

{
    "value": {
        "forged": is_forged,
        "fernet": token.decrypt(token.encrypt(b"text")).decode(),
        "gcm": AESGCM(b"k" * 16).encrypt(b"n" * 12, b"text", b"").hex(),
        "pbkdf2": PBKDF2HMAC(hashes.SHA256(), 16, b"salt", 1000).derive(b"password").hex(),
        "subject": certificate.subject.rfc4514_string(),
    },
    "random": [
        key.private_numbers().p % 2**64, curve.private_numbers().private_value % 2**64, edwards.private_bytes(*raw).hex(),
        certificate.serial_number % 2**64, AESGCM.generate_key(128).hex(), ssl.RAND_bytes(8).hex(), random.random(),
    ],
}
